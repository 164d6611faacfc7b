"""Values of repeated flags and of lists of names, and defaults that other flags imply."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from mlr_jax import checks


def ascending(flag: flags.FlagHolder, *, fast: Sequence[Any] | None = None) -> list[Any]:
    """The values of a repeated flag, each once.

    Args:
      flag: what `flags.DEFINE_multi_...` has returned.
      fast: the values in place of the default ones, with --fast; None without it.
    """
    if fast is not None and not flag.present:
        return list(fast)
    return sorted(set(flag.value))


def set_unless_given(values: Mapping[str, Any]) -> None:
    """Sets flags that the command line does not give."""
    for name, value in values.items():
        if not flags.FLAGS[name].present:
            flags.FLAGS[name].value = value


def check_names(flag: str, names: Iterable[str], known: Iterable[str], *, what: str) -> None:
    """Raises InputError if a flag lists a name that is not known.

    Args:
      flag: its name.
      names: in the list.
      known: the allowed names.
      what: the kind of thing that has the name, for the message.
    """
    for name in names:
        if name not in known:
            raise checks.InputError(f"--{flag}: there is no {what} {name!r}; there are {', '.join(known)}")


def check_distinct(flag: str, names: Sequence[str], *, what: str) -> None:
    """Raises InputError if a flag lists nothing, or a name twice."""
    if not names or len(set(names)) < len(names):
        raise checks.InputError(f"--{flag} must name at least one {what}, and none twice")
