"""Generative adversarial networks beside which masked regression is compared, trained on the same pairs.

An extra, `pip install .[gans]`: `mlr_jax` never imports it.

    contract      what a GAN is here: pure functions over a state
    layers        convolutions, normalisation and blocks that several of them share
    losses        adversarial losses
    augmentation  mirrored and moved pictures, the same for all
    pix2pix       paired: a U-Net and a discriminator of patches (Isola et al., 2017)
    cyclegan      unpaired: there and back again (Zhu et al., 2017)
    stargan       one generator for all expressions (Choi et al., 2018)
    ganimation    an attention mask, and expressions as continuous vectors (Pumarola et al., 2018)
    registry      their names
    training      the loop: budget, held-out error, checkpoints, curve and samples
"""
