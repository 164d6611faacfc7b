"""Sums that keep their rounding errors: as accurate over millions of terms as over a few."""

from typing import NamedTuple

import jax

from mlr_jax.numerics.serialization import exported


@exported
class Sum(NamedTuple):
    """A sum, as the unevaluated pair `high + low`, of which `low` is the rounding error of `high`."""

    high: jax.Array
    low: jax.Array


def add(total: Sum, value: jax.Array) -> Sum:
    """Adds `value`; adds the exact rounding error of `high` (Knuth's two-sum) to `low`."""
    high = total.high + value
    virtual = high - total.high
    return Sum(high, total.low + ((total.high - (high - virtual)) + (value - virtual)))


def join(first: Sum, second: Sum) -> Sum:
    """Adds two sums, and moves as much to `high` as its digits can hold."""
    total = add(first, second.high)
    low = total.low + second.low
    high = total.high + low
    return Sum(high, low - (high - total.high))


def negate(total: Sum) -> Sum:
    """Returns minus the sum."""
    return Sum(-total.high, -total.low)
