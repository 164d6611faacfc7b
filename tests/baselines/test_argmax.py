import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax.baselines import _argmax

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("values", "largest", "smallest"),
    [
        ([3.0], 0, 0),
        ([1.0, 5.0, -2.0, 4.0], 1, 2),
        ([2.0, 7.0, 7.0, 2.0], 1, 0),
        ([0.0, -0.0, 0.0], 0, 0),
        ([1.0, INF, INF, -INF, -INF], 1, 3),
        ([-INF, -INF], 0, 0),
        ([INF, INF, INF], 0, 0),
        ([INF, 1.0, INF], 0, 1),
        ([1.0, 5.0, NAN, -3.0], 0, 0),
        ([5.0, NAN, INF, -INF], 0, 0),
        ([NAN, NAN], 0, 0),
    ],
)
@pytest.mark.parametrize("transform", [lambda function: function, jax.jit])
def test_ties_go_to_the_first(transform, values, largest, smallest):
    with jax.debug_nans(False):
        values = jnp.array(values)
        assert int(transform(_argmax.argmax)(values)) == largest
        assert int(transform(_argmax.argmin)(values)) == smallest


def test_agrees_with_numpy(rng):
    for _ in range(20):
        # Few distinct values, for ties.
        values = rng.integers(-20, 20, 64).astype(np.float32)
        assert int(_argmax.argmax(jnp.asarray(values))) == np.argmax(values)
        assert int(_argmax.argmin(jnp.asarray(values))) == np.argmin(values)


def test_integers_are_accepted():
    values = jnp.array([0, 1, 1, 0])
    assert int(_argmax.argmax(values)) == 1
    assert int(_argmax.argmin(values)) == 0


def test_vmap_and_dtypes(rng):
    values = rng.integers(-3, 3, (10, 7)).astype(np.float32)
    found = jax.vmap(_argmax.argmax)(jnp.asarray(values))
    np.testing.assert_array_equal(found, np.argmax(values, axis=1))
    assert found.dtype == jnp.int32
