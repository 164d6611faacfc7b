"""Imports the GANs, for code that must also run without the packages of the extra."""

from types import ModuleType

from mlr_jax import checks


def fitting() -> ModuleType:
    """Imports `experiments.gans.fitting`.

    Raises:
      InputError: the extra is not installed.
    """
    try:
        from experiments.gans import fitting
    except ModuleNotFoundError as error:
        raise checks.InputError(
            f"GANs need packages that are not installed ({error.name}): {checks.how_to_install('gans')}"
        ) from error
    return fitting
