import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax._window_regression import lines


@pytest.mark.parametrize("reach", [(0, 0), (2, 1), (1, 3)])
def test_a_shift_is_a_slice_and_reads_zeros_outside(reach, rng):
    height, width = 4, 5
    planes = rng.standard_normal((2, height, width))
    layout = lines.Layout(height, width, *reach)
    flat = np.asarray(lines.flatten(jnp.asarray(planes, jnp.float32), layout))
    assert flat.shape == (2, layout.size)
    assert layout.size >= layout.length + 2 * layout.margin
    padded = np.pad(planes, ((0, 0), (reach[0], reach[0]), (reach[1], reach[1])))
    for dy in range(-reach[0], reach[0] + 1):
        for dx in range(-reach[1], reach[1] + 1):
            start = layout.margin + layout.shift(dy, dx)
            found = lines.unflatten(flat[:, start : start + layout.length], layout)
            top, left = reach[0] + dy, reach[1] + dx
            expected = padded[:, top : top + height, left : left + width]
            np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_fill_sets_the_padding_between_and_around_rows():
    layout = lines.Layout(2, 2, 1, 1)
    flat = np.asarray(lines.flatten(jnp.zeros((2, 2)), layout, fill=7))
    assert flat.tolist() == [7] * 4 + [0, 0, 7, 0, 0] + [7] * 6


def test_a_line_may_have_more_rows_than_the_picture():
    layout = lines.Layout(3, 2, 0, 1)
    flat = lines.flatten(jnp.ones((2, 2)), layout, fill=7)
    assert flat.tolist() == [7, 1, 1, 7, 1, 1, 7, 7, 7, 7, 7, 7]
