"""The registry of methods that are compared: each learns from pictures and predicts pictures.

A method is a module of this package with `ENTRIES`, each a `MethodEntry`: how the method is made, its
regularisation grid, its fixed hyper-parameters, and what the tests need to know. The comparison, its figures
and the tests that every method must pass find it here; nothing else needs to be changed.

    method           `Method`, `Settings`, `MethodEntry`
    planes           what regressions of flattened pictures share
    all others       the methods
"""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache

from experiments.comparing.methods.method import Method, MethodEntry, Settings

# The order of tables and figures. Modules that are not listed follow, by name.
_ORDER = (
    "unlearned",
    "masked_ridge",
    "masked_variants",
    "warped_ridge",
    "masked_lsrf",
    "l0_omp",
    "l1_lasso",
    "l2_ridge",
    "kernel_ridge",
    "low_rank",
    "gan",
)
_SHARED = ("method", "planes")


def _entries() -> Iterator[MethodEntry]:
    found = {module.name for module in pkgutil.iter_modules(__path__)} - {*_ORDER, *_SHARED}
    for name in (*_ORDER, *sorted(found)):
        yield from importlib.import_module(f"{__name__}.{name}").ENTRIES


METHODS: Mapping[str, MethodEntry] = {entry.make.__name__: entry for entry in _entries()}
"""Name -> entry, in the order of tables and figures."""

VARIANTS = tuple(name for name, entry in METHODS.items() if entry.role == "variant")
"""Variants of masked ridge, compared only in experiments about them."""

GANS = tuple(name for name, entry in METHODS.items() if entry.role == "gan")
"""GANs, trained step by step for minutes: compared only if named."""


@cache
def make_method(name: str, settings: Settings) -> Method:
    """Makes the method of that name, once, so that its compiled functions are used again."""
    return METHODS[name].make(settings)
