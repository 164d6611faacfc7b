import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax._window_regression import strips

WIDTH = 3


def blurred(plane: jax.Array) -> jax.Array:
    """For every row, the number and the sum of the rows at most two away."""
    rows = jnp.stack([jnp.ones_like(plane), plane])
    padded = jnp.pad(rows, ((0, 0), (2, 2), (0, 0)))
    return sum(padded[:, k : k + plane.shape[0]] for k in range(5))


@pytest.mark.parametrize("rows", [1, 4, 5, 7, 30])
@pytest.mark.parametrize("height", [1, 5, 12, 13])
def test_strips_equal_the_whole_picture(height, rows, rng):
    plane = jnp.asarray(rng.standard_normal((height, WIDTH)), jnp.float32)
    sizes = []

    def function(start, size):
        sizes.append(size)
        strip = blurred(jax.lax.dynamic_slice_in_dim(plane, start, size))
        return {"both": strip, "second": strip[1]}

    result = strips.map_rows(function, height, strips.Plan(rows, 2))
    np.testing.assert_allclose(result["both"], blurred(plane), rtol=1e-6)
    np.testing.assert_array_equal(result["second"], result["both"][1])
    assert max(sizes) <= min(height, rows + 4)


def test_a_picture_no_larger_than_a_strip_is_not_cut():
    starts = []

    def function(start, size):
        starts.append((int(start), size))
        return jnp.zeros((size, WIDTH))

    assert strips.map_rows(function, 9, strips.Plan(5, 2)).shape == (9, WIDTH)
    assert starts == [(0, 9)]


@pytest.mark.parametrize("rows", [1, 4, 5, 30])
@pytest.mark.parametrize("height", [1, 5, 13])
def test_planes_are_replaced_strip_by_strip(height, rows, rng):
    planes = {
        name: jnp.asarray(rng.standard_normal((2, height, WIDTH)), jnp.float32) for name in ("one", "other")
    }
    source = jnp.asarray(rng.standard_normal((height, WIDTH)), jnp.float32)

    def function(start, size, strip):
        change = blurred(jax.lax.dynamic_slice_in_dim(source, start, size))
        return {"one": strip["one"] + change, "other": 2 * strip["other"]}

    plan = strips.Plan(rows, 2)
    result = jax.jit(lambda planes: strips.replace_rows(function, planes, plan))(planes)
    np.testing.assert_allclose(result["one"], planes["one"] + blurred(source), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(result["other"], 2 * planes["other"])
