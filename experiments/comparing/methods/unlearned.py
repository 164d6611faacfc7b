"""Baselines of all methods: no change, and the mean change."""

from experiments.comparing.methods.method import Method, MethodEntry, Settings, Sizes


def copy_input(settings: Settings) -> Method:
    """Changes nothing."""
    del settings
    return Method(
        fit=lambda neutral, expressive: (),
        predict=lambda params, neutral: neutral,
    )


def mean_change(settings: Settings) -> Method:
    """Adds the mean difference of the training pairs to the input."""
    del settings
    return Method(
        fit=lambda neutral, expressive: (expressive - neutral).mean(axis=0),
        predict=lambda change, neutral: neutral + change[None],
    )


def _num_changes(sizes: Sizes) -> int:
    return sizes.channels * sizes.pixels


ENTRIES = (
    MethodEntry(copy_input, num_parameters=lambda sizes: 0),
    MethodEntry(mean_change, num_parameters=_num_changes),
)
