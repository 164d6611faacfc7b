"""`towards="input"`: the penalty is on the distance from copying the input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlr_jax import checks, masked_ridge, masks, synthesis, windows

pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH, PIXELS = 5, 4, 20
MASK = masks.square_mask(HEIGHT, WIDTH, 3)
# Every third output does not see its own input.
HOLED = masks.from_dense(masks.to_dense(MASK, PIXELS) & ~np.diag(np.arange(PIXELS) % 3 == 0))


@pytest.fixture(scope="module", autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def pairs() -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((2, 12, HEIGHT, WIDTH, 2)))


def flat(pictures: np.ndarray) -> np.ndarray:
    return pictures[..., 0].reshape(len(pictures), -1)


@pytest.mark.parametrize("mask", [MASK, HOLED])
@pytest.mark.parametrize("penalize_bias", [True, False])
def test_the_distance_from_the_copy_is_penalised(pairs, mask, penalize_bias):
    """The gradient of that objective is 0."""
    inputs, targets = map(flat, pairs)
    found = masked_ridge.fit(inputs, targets, mask, 0.7, penalize_bias=penalize_bias, towards="input")
    copy = np.where(mask.valid, mask.indices == np.arange(PIXELS)[:, None], False)
    assert copy.sum() == {id(MASK): 20, id(HOLED): 13}[id(mask)]

    def objective(params):
        left = masked_ridge.predict(params, inputs, mask) - targets
        bias = jnp.sum(params.bias**2) if penalize_bias else 0
        return jnp.sum(left**2) / 2 + 0.35 * (jnp.sum((params.weights - copy) ** 2) + bias)

    slopes = jax.grad(objective)(found)
    np.testing.assert_allclose(np.where(mask.valid, slopes.weights, 0), 0, atol=1e-9)
    np.testing.assert_allclose(slopes.bias, 0, atol=1e-9)
    compiled = jax.jit(masked_ridge.fit, static_argnames=("penalize_bias", "towards"))
    again = compiled(inputs, targets, mask, 0.7, penalize_bias=penalize_bias, towards="input")
    np.testing.assert_allclose(again.weights, found.weights, atol=1e-12)


TALL = windows.from_offsets((dy, dx) for dy in range(-2, 3) for dx in range(-1, 2))


@pytest.mark.parametrize("channels", ["independent", "shared", "joint"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "gather"},
        {"window": TALL, "solver": "dual"},
        {"window": windows.mirrored(windows.square(3))},
        {"window": MASK},
        {"mirror": True},
        {"window": [1, 3], "penalty": "auto", "num_folds": 2},
        {"window": [1, 3], "penalty": "auto", "num_folds": 2, "per_pixel": True},
        {"weights": np.arange(12) / 4},
    ],
)
def test_a_model_predicts_as_one_of_the_change(pairs, channels, options):
    """`--learn=change`; and with an enormous penalty it changes nothing."""
    neutral, expressive = pairs
    found = synthesis.fit(neutral, expressive, channels=channels, towards="input", **options)
    change = synthesis.fit(neutral, expressive - neutral, channels=channels, **options)
    new = np.random.default_rng(1).random((3, HEIGHT, WIDTH, 2))
    expected = new + synthesis.synthesize(change, new)
    np.testing.assert_allclose(synthesis.synthesize(found, new), expected, atol=1e-10)
    if options.get("penalty") != "auto":
        still = synthesis.fit(
            neutral, expressive, channels=channels, towards="input", penalty=1e12, **options
        )
        np.testing.assert_allclose(synthesis.synthesize(still, new), new, atol=1e-6)


def test_mirrored_pairs_are_pairs_for_a_mask_that_is_not_symmetric(pairs):
    twice = [np.concatenate([each, each[:, :, ::-1]]) for each in pairs]
    expected = synthesis.fit(*twice, window=HOLED, towards="input")
    found = synthesis.fit(*pairs, window=HOLED, towards="input", mirror=True)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-10)


def test_pixels_of_a_mask_that_do_not_see_themselves_shrink_to_zero(pairs):
    found = synthesis.fit(*pairs, window=HOLED, penalty=1e12, towards="input")
    result = np.asarray(synthesis.synthesize(found, pairs[0])).reshape(12, PIXELS, 2)
    blind = np.arange(PIXELS) % 3 == 0
    expected = np.where(blind[None, :, None], 0, pairs[0].reshape(12, PIXELS, 2))
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_a_pixel_that_is_not_solved_is_its_input_and_the_mean_change(pairs):
    neutral, expressive = (each.copy() for each in pairs)
    neutral[:, 2, 2] = 0.5
    with pytest.warns(checks.UnsolvedWarning, match="the first being row 1, column 1"):
        found = synthesis.fit(neutral, expressive, penalty=0.0, towards="input", penalize_bias=False)
    new = np.random.default_rng(1).random((3, HEIGHT, WIDTH, 2))
    mean = (expressive - neutral)[:, 2, 2].mean(axis=0)
    np.testing.assert_allclose(
        np.asarray(synthesis.synthesize(found, new))[:, 2, 2], new[:, 2, 2] + mean, atol=1e-10
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: synthesis.fit(x, y, towards="copy"), "towards must be 'zero' or 'input', not 'copy'"),
        (
            lambda x, y: masked_ridge.fit(flat(x), flat(y), MASK, 1, towards="copy"),
            "towards must be 'zero' or 'input', not 'copy'",
        ),
        (
            lambda x, y: synthesis.fit(x, y, window=windows.from_offsets([(0, 1)]), towards="input"),
            r"the window has no offset \(0, 0\)",
        ),
        (
            lambda x, y: synthesis.fit(
                x, y, window=[3, windows.from_offsets([(0, 1)])], num_folds=2, towards="input"
            ),
            r"the window has no offset \(0, 0\)",
        ),
        (
            lambda x, y: synthesis.fit(
                x, y, window=masks.offset_mask(HEIGHT, WIDTH, [(0, 1)]), towards="input"
            ),
            "no output of the mask sees its own input",
        ),
        (
            lambda x, y: masked_ridge.fit(
                flat(x), flat(y)[:, :4], masks.Mask(*(each[:4] for each in MASK)), 1, towards="input"
            ),
            "needs as many inputs as outputs, not 20 and 4",
        ),
    ],
)
def test_what_cannot_shrink_towards_the_input_is_said(pairs, call, message):
    with pytest.raises(checks.InputError, match=message):
        call(*pairs)
