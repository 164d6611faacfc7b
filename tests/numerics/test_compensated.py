from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from mlr_jax.numerics import compensated
from mlr_jax.numerics.compensated import Sum

ZERO = Sum(jnp.float32(0), jnp.float32(0))


def exactly(total: Sum) -> Fraction:
    return Fraction(float(total.high)) + Fraction(float(total.low))


def test_a_million_terms_are_summed_without_loss():
    terms = np.random.default_rng(0).random(2**20, np.float32)
    total = jax.lax.fori_loop(
        0, len(terms), lambda n, total: compensated.add(total, jnp.asarray(terms)[n]), ZERO
    )
    expected = float(np.sum(terms, dtype=np.float64))
    assert abs(float(exactly(total)) / expected - 1) < 1e-9
    plain = jax.lax.fori_loop(0, len(terms), lambda n, total: total + jnp.asarray(terms)[n], 0.0)
    assert abs(float(plain) / expected - 1) > 1e-6, "plain sums lose digits here"


def test_sums_can_be_joined_and_subtracted():
    terms = np.random.default_rng(1).random(3000, np.float32) * 1e4
    parts = []
    for part in np.split(terms, 3):
        parts.append(
            jax.lax.fori_loop(0, 1000, lambda n, t, p=part: compensated.add(t, jnp.asarray(p)[n]), ZERO)
        )
    whole = compensated.join(compensated.join(parts[0], parts[1]), parts[2])
    expected = sum(Fraction(float(term)) for term in terms)
    assert abs(exactly(whole) - expected) / expected < 1e-11
    assert abs(float(whole.low)) <= np.spacing(np.float32(whole.high)) / 2, "high holds all it has digits for"
    rest = compensated.join(whole, compensated.negate(parts[1]))
    expected -= sum(Fraction(float(term)) for term in terms[1000:2000])
    assert abs(exactly(rest) - expected) / expected < 1e-11
