"""Helpers that the tests of several baselines share."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax.baselines.sparse_linear import SparseLinear


def dense_weights(params: SparseLinear, num_inputs: int) -> np.ndarray:
    """`(num_outputs, num_inputs)`, 0 where an output does not read an input."""
    indices, valid, weights = (np.asarray(each) for each in (*params.mask, params.linear.weights))
    dense = np.zeros((len(weights), num_inputs))
    np.add.at(dense, (np.nonzero(valid)[0], indices[valid]), weights[valid])
    return dense


def check_gradients(function: Callable[..., jax.Array], arguments: Sequence, *, rel: float = 1e-6) -> None:
    """Compares the gradient in every argument with a finite difference along a random direction."""
    arguments = tuple(jnp.asarray(each) for each in arguments)
    # One compilation returns the values, too.
    evaluate = jax.jit(jax.value_and_grad(function, argnums=tuple(range(len(arguments)))))
    rng = np.random.default_rng(2)
    for i, gradient in enumerate(evaluate(*arguments)[1]):
        step = 1e-6 * rng.standard_normal(gradient.shape)
        ahead, behind = (
            float(evaluate(*arguments[:i], arguments[i] + change, *arguments[i + 1 :])[0])
            for change in (step, -step)
        )
        assert float(jnp.sum(gradient * step)) == pytest.approx((ahead - behind) / 2, rel=rel)
