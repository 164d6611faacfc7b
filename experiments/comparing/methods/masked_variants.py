"""Masked ridge that chooses windows and penalties: compared in experiments about them."""

from functools import partial
from typing import Any

from experiments.comparing.methods.masked_ridge import count_weights, unsolved
from experiments.comparing.methods.method import Method, MethodEntry, Settings, learning
from mlr_jax import synthesis, windows

_FOVEATED = tuple(windows.foveated(dilation=step, blur=step / 2) for step in (2, 3, 4))


def masked_auto(settings: Settings) -> Method:
    """Masked ridge that chooses its window and penalty, from statistics of the folds."""
    return _chosen(settings, window="auto", penalty="auto")


def masked_per_pixel(settings: Settings) -> Method:
    """Masked ridge in which every pixel chooses its window and penalty."""
    return _chosen(settings, window="auto", penalty="auto", per_pixel=True)


def masked_tuned(settings: Settings) -> Method:
    """Masked ridge with a penalty for each pixel and each offset of the window."""
    return _chosen(settings, window=3, penalty="tuned")


def masked_mirrored(settings: Settings) -> Method:
    """Masked ridge that sees the mirror pixel, too."""
    return _chosen(settings, window=windows.mirrored(windows.square(3)), penalty="auto")


def masked_foveated(settings: Settings) -> Method:
    """Masked ridge with a foveated window, whose dilation it chooses."""
    return _chosen(settings, window=_FOVEATED, penalty="auto")


def mirrored_pairs(settings: Settings) -> Method:
    """Masked ridge on twice the pairs, half of them mirrored."""
    return _chosen(settings, window=3, penalty="auto", mirror=True)


def masked_combined(settings: Settings) -> Method:
    """All that lowers the held-out error: a foveated window, mirrored pairs, tuned penalties.

    The mirror pixel does not.
    """
    return _chosen(settings, window=_FOVEATED, penalty="tuned", mirror=True)


def _chosen(settings: Settings, **options: Any) -> Method:
    """Masked ridge that chooses its penalty by the held-out error on training pairs."""
    fit = partial(synthesis.fit, channels=settings.channel_mode, **options)
    method = Method(fit, synthesis.synthesize, count_weights, shortfall=unsolved)
    return learning(settings.learn, method)


ENTRIES = tuple(
    MethodEntry(make, role="variant", duration=5)
    for make in (
        masked_auto,
        masked_per_pixel,
        masked_tuned,
        masked_mirrored,
        masked_foveated,
        mirrored_pairs,
        masked_combined,
    )
)
