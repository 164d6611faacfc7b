"""Generative adversarial networks beside which masked regression is compared, trained on the same pairs.

An extra, `pip install '.[gans]'`: `mlr_jax` never imports it.

    contract         what a GAN is here: pure functions over a state
    layers           convolutions, normalisation and blocks that several of them share
    losses           adversarial losses
    augmentation     mirrored and moved pictures, the same for all
    pix2pix          paired: a U-Net and a discriminator of patches (Isola et al., 2017)
    cyclegan         unpaired: there and back again (Zhu et al., 2017)
    stargan          one generator for all expressions (Choi et al., 2018)
    ganimation       an attention mask, and expressions as continuous vectors (Pumarola et al., 2018)
    registry         their names
    expression_sets  pictures of every person with every expression
    early_stopping   the people whose error says when training ends
    training         the loop: budget, held-out error, checkpoint, curve and samples
    fitting          from people's pictures to a trained GAN, as a method of a comparison too
    optional         fitting, for code that runs without the extra
    settings         how GANs are trained in a comparison
"""
