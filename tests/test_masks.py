import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import masked_ridge, masks, windows
from mlr_jax.checks import InputError

HEIGHT, WIDTH = 6, 7


def brute_force(sees) -> np.ndarray:
    """The dense matrix in which output (y, x) sees input (v, u) if `sees(v - y, u - x)`."""
    pixels = [(y, x) for y in range(HEIGHT) for x in range(WIDTH)]
    return np.array([[sees(v - y, u - x) for v, u in pixels] for y, x in pixels])


WINDOWS = {
    "pixel": (masks.square_mask(HEIGHT, WIDTH, 1), lambda dy, dx: dy == dx == 0),
    "square": (masks.square_mask(HEIGHT, WIDTH, 5), lambda dy, dx: max(abs(dy), abs(dx)) <= 2),
    "disk": (masks.disk_mask(HEIGHT, WIDTH, 1.5), lambda dy, dx: dy**2 + dx**2 <= 2.25),
    "dilated": (
        masks.dilated_mask(HEIGHT, WIDTH, 3, 2),
        lambda dy, dx: dy in (-2, 0, 2) and dx in (-2, 0, 2),
    ),
    "offsets": (
        masks.offset_mask(HEIGHT, WIDTH, [(0, 1), (-3, 0)]),
        lambda dy, dx: (dy, dx) in ((0, 1), (-3, 0)),
    ),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_see_what_they_should(name):
    mask, sees = WINDOWS[name]
    assert mask.indices.dtype == np.int32
    assert mask.valid.dtype == bool
    assert mask.indices.shape == mask.valid.shape
    assert mask.indices.min() >= 0
    assert mask.indices.max() < HEIGHT * WIDTH
    np.testing.assert_array_equal(masks.to_dense(mask, HEIGHT * WIDTH), brute_force(sees))


def test_window_entries_stay_in_place():
    mask = masks.square_mask(HEIGHT, WIDTH, 3)
    # Entry 2 of every pixel is the pixel above and to the right, if there is one.
    above_right = np.arange(HEIGHT * WIDTH) - WIDTH + 1
    valid = mask.valid[:, 2]
    np.testing.assert_array_equal(mask.indices[valid, 2], above_right[valid])
    np.testing.assert_array_equal(
        valid.reshape(HEIGHT, WIDTH), np.pad(np.ones((5, 6), bool), ((1, 0), (0, 1)))
    )


def test_a_window_may_be_as_large_as_the_picture():
    assert masks.square_mask(3, 5, 3).valid.shape == (15, 9)
    assert masks.to_dense(masks.dilated_mask(5, 5, 3, 2), 25)[12].sum() == 9


@pytest.mark.parametrize("name", WINDOWS)
def test_dense_round_trip(name):
    dense = masks.to_dense(WINDOWS[name][0], HEIGHT * WIDTH)
    mask = masks.from_dense(dense, allow_empty=name == "offsets")
    assert mask.indices.shape[1] == dense.sum(axis=1).max()
    np.testing.assert_array_equal(masks.to_dense(mask, HEIGHT * WIDTH), dense)


def test_from_dense_rejects_empty_rows_unless_allowed():
    dense = np.array([[True, True], [False, False], [False, True]])
    with pytest.raises(InputError, match="output 1 sees no input"):
        masks.from_dense(dense)
    with pytest.raises(InputError, match=r"output 1 sees no input \(3 such outputs\)"):
        masks.from_dense(dense[[0, 1, 2, 1, 1]])
    mask = masks.from_dense(dense, allow_empty=True)
    np.testing.assert_array_equal(masks.to_dense(mask, 2), dense)
    assert masks.from_dense(np.zeros((3, 2), bool), allow_empty=True).indices.shape == (3, 1)


@pytest.mark.parametrize("first", WINDOWS)
@pytest.mark.parametrize("second", WINDOWS)
def test_union(first, second):
    dense = [masks.to_dense(WINDOWS[name][0], HEIGHT * WIDTH) for name in (first, second)]
    union = masks.union(WINDOWS[first][0], WINDOWS[second][0])
    assert union.indices.dtype == np.int32
    assert union.valid.sum() == (dense[0] | dense[1]).sum(), "an input stands twice in a row"
    np.testing.assert_array_equal(masks.to_dense(union, HEIGHT * WIDTH), dense[0] | dense[1])


def test_union_of_empty_rows():
    empty = masks.from_dense(np.zeros((2, 3), bool), allow_empty=True)
    other = masks.from_dense(np.array([[False, False, True], [False, False, False]]), allow_empty=True)
    np.testing.assert_array_equal(masks.to_dense(masks.union(empty, other), 3), [[0, 0, 1], [0, 0, 0]])


def test_across_channels():
    mask = masks.across_channels(masks.square_mask(HEIGHT, WIDTH, 3), 2)
    dense = masks.to_dense(mask, HEIGHT * WIDTH * 2).reshape(HEIGHT * WIDTH, HEIGHT * WIDTH, 2)
    expected = masks.to_dense(masks.square_mask(HEIGHT, WIDTH, 3), HEIGHT * WIDTH)
    np.testing.assert_array_equal(dense[..., 0], expected)
    np.testing.assert_array_equal(dense[..., 1], expected)
    assert mask.indices.dtype == np.int32


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: masks.square_mask(8, 8, 4), "size must be odd and positive.*not 4"),
        (lambda: masks.square_mask(8, 8, 0), "size must be odd"),
        (lambda: masks.square_mask(8, 8, -3), "size must be odd"),
        (lambda: masks.square_mask(8, 3, 5), "5 x 5 pixels is larger than the picture of 8 x 3"),
        (lambda: masks.disk_mask(4, 4, 2.0), "larger than the picture"),
        (lambda: masks.disk_mask(4, 4, -1.0), "radius must be 0 or more and finite, not -1"),
        (lambda: masks.disk_mask(4, 4, float("nan")), "radius must be"),
        (lambda: masks.dilated_mask(8, 8, 3, 0), "dilation must be 1 or more"),
        (lambda: masks.dilated_mask(8, 8, 3, 4), "larger than the picture"),
        (lambda: masks.square_mask(0, 8, 1), "has no pixel"),
        (lambda: masks.offset_mask(8, 8, []), "at least one"),
        (lambda: masks.offset_mask(8, 8, [(0, 0), (0, 0)]), "distinct"),
        (lambda: masks.from_dense(np.ones(3, bool)), r"not the shape \(3,\)"),
        (lambda: masks.to_dense(masks.square_mask(4, 4, 3), 15), "made for another size"),
        (
            lambda: masks.union(masks.square_mask(4, 4, 3), masks.square_mask(4, 5, 3)),
            "16 and 20 outputs",
        ),
    ],
)
def test_clear_errors(build, words):
    with pytest.raises(InputError, match=words):
        build()


def test_from_dense_needs_bool():
    with pytest.raises(TypeError, match="must be bool, not int64"):
        masks.from_dense(np.ones((2, 2), np.int64))


OFFSET_WINDOWS = {
    "pixel": (windows.square(1), masks.square_mask(HEIGHT, WIDTH, 1)),
    "square": (windows.square(5), masks.square_mask(HEIGHT, WIDTH, 5)),
    "disk": (windows.disk(1.5), masks.disk_mask(HEIGHT, WIDTH, 1.5)),
    "dilated": (windows.dilated(3, 2), masks.dilated_mask(HEIGHT, WIDTH, 3, 2)),
    "offsets": (
        windows.from_offsets([(0, 1), (-3, 0)]),
        masks.offset_mask(HEIGHT, WIDTH, [(0, 1), (-3, 0)]),
    ),
}


@pytest.mark.parametrize("name", OFFSET_WINDOWS)
def test_a_window_has_the_offsets_of_its_mask(name):
    window, mask = OFFSET_WINDOWS[name]
    _, sees = WINDOWS[name]
    steps = range(-HEIGHT, HEIGHT + 1)
    assert set(window.offsets) == {(dy, dx) for dy in steps for dx in steps if sees(dy, dx)}
    assert len(set(window.offsets)) == len(window.offsets)
    again = masks.offset_mask(HEIGHT, WIDTH, window.offsets)
    np.testing.assert_array_equal(again.indices, mask.indices)
    np.testing.assert_array_equal(again.valid, mask.valid)
    windows.check(window, "here", HEIGHT, WIDTH)


def test_offsets_go_row_by_row_and_given_ones_keep_their_order():
    assert windows.dilated(3, 2).offsets[:4] == ((-2, -2), (-2, 0), (-2, 2), (0, -2))
    assert windows.disk(1).offsets == ((-1, 0), (0, -1), (0, 0), (0, 1), (1, 0))
    assert len(windows.disk(2).offsets) == 13, "all at most two pixels away"
    window = windows.from_offsets(np.array([[2, 1], [0, -1]]))
    assert window.offsets == ((2, 1), (0, -1))
    assert all(type(step) is int for offset in window.offsets for step in offset)
    assert windows.from_offsets(offset for offset in window.offsets) == window
    assert windows.from_offsets(window.offsets[::-1]) != window


@pytest.mark.parametrize(
    ("window", "reach"),
    [
        (windows.square(1), (0, 0)),
        (windows.square(5), (2, 2)),
        (windows.dilated(3, 4), (4, 4)),
        (windows.disk(2.9), (2, 2)),
        (windows.from_offsets([(0, 1), (-3, 0)]), (3, 1)),
        (windows.from_offsets([(4, -6), (5, -5)]), (5, 6)),
    ],
)
def test_reach(window, reach):
    assert window.reach == reach


def test_windows_are_static_under_jit():
    traces = []

    @jax.jit
    def count(window, number):
        traces.append(window)
        return number * len(window.offsets)

    assert count(windows.square(3), 2.0) == 18
    assert count(windows.square(3), 3.0) == 27
    assert len(traces) == 1
    assert count(windows.square(5), 2.0) == 50
    assert traces == [windows.square(3), windows.square(5)]
    assert jax.tree.leaves(windows.square(3)) == []
    assert hash(windows.square(3)) == hash(windows.dilated(3, 1))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: windows.from_offsets([]), "distinct, and at least one"),
        (lambda: windows.from_offsets([(0, 0), (1, 0), (0, 0)]), "distinct"),
        (lambda: windows.square(4), "size must be odd and positive.*not 4"),
        (lambda: windows.square(-1), "size must be odd"),
        (lambda: windows.dilated(3, 0), "dilation must be 1 or more, not 0"),
        (lambda: windows.disk(-1.0), "radius must be 0 or more"),
        (lambda: windows.disk(float("inf")), "radius must be 0 or more and finite"),
        (lambda: windows.check(windows.square(3), "here", 0, 4), "here: a picture of 0 x 4 has no pixel"),
        (
            lambda: windows.check(windows.square(5), "here", 8, 4),
            "here: a window of 5 x 5 pixels is larger than the picture of 8 x 4",
        ),
        (
            lambda: windows.check(windows.from_offsets([(-2, 0), (1, 0)]), "here", 3, 9),
            "a window of 4 x 1 pixels is larger",
        ),
    ],
)
def test_clear_errors_of_windows(build, words):
    with pytest.raises(InputError, match=words):
        build()


@pytest.mark.parametrize("other", [3, windows.square(3).offsets, masks.square_mask(4, 4, 3)])
def test_check_needs_a_window(other):
    with pytest.raises(TypeError, match=r"here: window must be a windows\.Window, not a (int|tuple|Mask)"):
        windows.check(other, "here", 4, 4)


def test_foveated_windows_see_a_blurred_copy():
    mask = masks.foveated_mask(HEIGHT, WIDTH, size=3, outer_size=3, dilation=2, blur=1.5)
    near = brute_force(lambda dy, dx: max(abs(dy), abs(dx)) <= 1)
    far = brute_force(lambda dy, dx: dy in (-2, 0, 2) and dx in (-2, 0, 2))
    dense = masks.to_dense(mask, 2 * HEIGHT * WIDTH)
    np.testing.assert_array_equal(dense, np.concatenate([near, far], axis=1))
    window = windows.foveated(size=3, outer_size=3, dilation=2, blur=1.5)
    assert window.distinct_views == (windows.View(), windows.View(blur=1.5))
    assert masks.as_mask(window, HEIGHT, WIDTH).indices.tolist() == mask.indices.tolist()
    # A view without blur is the picture itself, whose pixels count once.
    assert len(windows.foveated(dilation=2, blur=0).offsets) == 9 + 8


def test_foveated_windows_have_dilation_3_by_default():
    window = windows.foveated(size=3, outer_size=3, dilation=3, blur=1.5)
    assert windows.foveated() == window
    found, expected = masks.foveated_mask(8, 7), masks.as_mask(window, 8, 7)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.valid, expected.valid)


def test_a_picture_may_be_a_line_or_a_pixel():
    assert masks.square_mask(1, 4, 1).indices.tolist() == [[0], [1], [2], [3]]
    assert masks.square_mask(4, 1, 1).indices.tolist() == [[0], [1], [2], [3]]
    assert masks.square_mask(1, 1, 1).valid.all()


def test_mirrored_windows_see_the_mirror_pixel():
    window = windows.mirrored(windows.square(3))
    assert window.entries[-1] == ((0, 0), windows.View(mirrored=True))
    assert len(window.offsets) == 10
    # The order of views: the picture, blurred ones, mirrored ones.
    three = windows.mirrored(windows.foveated())
    assert three.distinct_views == (windows.View(), windows.View(blur=1.5), windows.View(mirrored=True))
    mask = masks.as_mask(windows.mirrored(windows.square(1)), HEIGHT, WIDTH)
    pixels = np.arange(HEIGHT * WIDTH)
    np.testing.assert_array_equal(mask.indices, np.stack([pixels, HEIGHT * WIDTH + pixels], axis=1))
    assert len(windows.mirrored(windows.square(3), size=3).offsets) == 18


def test_join_has_each_entry_once():
    assert windows.join(windows.square(3), windows.square(1)) == windows.square(3)
    both = windows.join(windows.square(1), windows.foveated(), windows.dilated(3, 4))
    assert len(both.offsets) == 9 + 9 + 8
    assert both.entries[0] == ((0, 0), windows.View())
    assert windows.from_offsets([(0, 0)], views=[windows.View()]) == windows.square(1)


def test_views_must_suit_their_window():
    with pytest.raises(InputError, match="1 offsets, but 2 views"):
        windows.from_offsets([(0, 0)], views=[windows.View()] * 2)
    with pytest.raises(InputError, match="offsets must be distinct"):
        windows.from_offsets([(0, 0)] * 2, views=[windows.View(blur=1.0)] * 2)
    with pytest.raises(InputError, match="blur must be 0 or more"):
        windows.foveated(blur=-1.0)


def mask_of(indices: list, valid: list) -> masks.Mask:
    return masks.Mask(np.array(indices, np.int32), np.array(valid, bool))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (mask_of([[0, 1]], [[True]]), r"must both be .*, not \(1, 2\) and \(1, 1\)"),
        (mask_of([0, 1], [True, True]), r"must both be .*, not \(2,\) and \(2,\)"),
        (mask_of([[3]], [[True]]), "points at input 3, but there are 3 inputs"),
        (mask_of([[-1, 0]], [[False, True]]), "points at input -1"),
    ],
)
def test_broken_masks_are_rejected(mask, words):
    with pytest.raises(InputError, match=words):
        masks.check(mask, "here", num_inputs=3)


def test_masks_may_have_one_output_or_none():
    masks.check(masks.Mask(np.zeros((0, 2), np.int32), np.zeros((0, 2), bool)), "here", num_inputs=3)
    assert masks.from_dense(np.array([[True]])).indices.tolist() == [[0]]
    with pytest.raises(InputError, match=r"not the shape \(0, 3\)"):
        masks.from_dense(np.zeros((0, 3), bool))


def test_geometry_and_lag_table_agree_with_the_offsets():
    """Compares offset by offset."""
    for window in (*(window for window, _ in OFFSET_WINDOWS.values()), windows.foveated(dilation=2)):
        rows, columns = (
            len(range(min(steps), max(steps) + 1)) for steps in zip(*window.offsets, strict=True)
        )
        assert window.extent == (rows, columns)
        is_filled = len(window.offsets) == rows * columns
        assert window.is_rectangle == (is_filled and not window.views)
        assert [window.distinct_views[place] for place in window.view_places] == [
            entry.view for entry in window.entries
        ]
        in_channels, out_channels = 2 * window.num_views, 3
        table = window.lag_table(in_channels, out_channels)
        assert len(table.inputs) == 2 * len(window.offsets)
        assert len(set(table.lags)) == len(table.lags)
        for a, row in zip(table.inputs, table.gram_entries, strict=True):
            for b, entry in zip(table.inputs, row, strict=True):
                lag = table.lags[entry.lag]
                # Both pixels of the product, from where the entry reads the lag image.
                first = (lag.left, entry.dy, entry.dx)
                second = (lag.right, entry.dy + lag.dy, entry.dx + lag.dx)
                assert {first, second} == {(a.channel, a.dy, a.dx), (b.channel, b.dy, b.dx)}
        for (dy, dx, channel), crosses in zip(table.inputs, table.cross_entries, strict=True):
            assert [table.lags[cross] for cross in crosses] == [
                (in_channels + out, channel, dy, dx) for out in range(out_channels)
            ]
        assert [table.lags[square] for square in table.square_entries] == [
            (target, target, 0, 0) for target in range(in_channels, in_channels + out_channels)
        ]


def test_earlier_names_still_work():
    """Each gives the same object or value as its new name."""
    assert masks.square_window is masks.square_mask
    assert masks.dilated_window is masks.dilated_mask
    assert masks.disk_window is masks.disk_mask
    assert masks.offset_window is masks.offset_mask
    assert masks.foveated_window is masks.foveated_mask
    for name in ("square", "dilated", "disk", "foveated", "mirrored", "join", "Window", "View", "Entry"):
        assert getattr(masks, name) is getattr(windows, name)
    assert masks.window is windows.from_offsets
    assert masks.check_window is windows.check
    field = windows.foveated()
    assert masks.reach(field) == field.reach
    assert masks.entries(field) == field.entries
    assert masks.views(field) == (field.distinct_views, field.view_places)


def test_masks_of_jax_arrays_can_be_constants_of_a_compiled_function():
    """As a learned mask is; its indices are checked, not traced."""
    mask = jax.tree.map(jnp.asarray, masks.square_mask(4, 4, 3))
    inputs = jnp.ones((2, 16))
    params = masked_ridge.MaskedLinear(jnp.where(mask.valid, 1.0, 0.0), jnp.zeros(16))
    found = jax.jit(lambda inputs: masked_ridge.predict(params, inputs, mask))(inputs)
    np.testing.assert_array_equal(found, masked_ridge.predict(params, inputs, mask))

    @jax.jit
    def width_of_union():
        return jnp.zeros(masks.union(mask, mask).indices.shape[1])

    assert width_of_union().shape == (9,)
