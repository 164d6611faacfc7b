"""GANs of two expressions, as methods of the comparison (`experiments/gans`)."""

from pathlib import Path

import jax

from experiments.comparing.methods.method import Method, MethodEntry, Params, Settings
from experiments.gans import optional
from mlr_jax import checks
from mlr_jax.datasets.pairs import Pairs


def pix2pix(settings: Settings) -> Method:
    """A GAN of pairs: a U-Net, and a discriminator of patches (Isola et al., 2017)."""
    return _gan("pix2pix", settings)


def cyclegan(settings: Settings) -> Method:
    """An unpaired GAN: a generator for each direction (Zhu et al., 2017)."""
    return _gan("cyclegan", settings)


def _gan(name: str, settings: Settings) -> Method:
    """A GAN of two expressions. It learns the expressive picture for any `settings.learn`."""

    def fit(neutral: jax.Array, expressive: jax.Array) -> Params:
        raise checks.InputError(
            f"{name} is trained step by step, which this experiment cannot do; see compare_baselines and "
            "gan_comparison"
        )

    def train(pairs: Pairs, seed: int, folder: Path) -> tuple[Params, float]:
        return optional.fitting().train_pairs(name, pairs, seed=seed, folder=folder, settings=settings.gan)

    def predict(params: Params, neutral: jax.Array) -> jax.Array:
        return optional.fitting().predict(name, params, neutral, width=settings.gan.width)

    return Method(fit, predict, train=train)


ENTRIES = (MethodEntry(pix2pix, role="gan", duration=6), MethodEntry(cyclegan, role="gan", duration=6))
