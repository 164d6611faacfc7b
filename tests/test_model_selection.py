"""Compares every score with refitting without the held-out pairs."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlr_jax import masked_ridge, masks, model_selection, synthesis, window_linear, window_statistics
from mlr_jax.checks import InputError
from mlr_jax.model_selection import Scores

# These tests compile large programs for small pictures.
pytestmark = pytest.mark.usefixtures("unoptimized_file")

HEIGHT, WIDTH = 9, 7
PENALTIES = (0.05, 0.4, 30.0)
SIDES = (1, 5)


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Float64 pairs; a pixel's neighbours explain its target in part."""
    rng = np.random.default_rng(0)
    inputs = rng.random((23, HEIGHT, WIDTH, 2))
    targets = 0.5 * inputs + 0.3 * np.roll(inputs, 1, axis=2) + 0.05 * rng.standard_normal(inputs.shape)
    return inputs, targets


FOLD = np.array([0] * 4 + [1] * 7 + [2] * 12)  # Folds of different sizes.


def fold_statistics(inputs, targets, folds=FOLD, *, side=5):
    """The statistics of each fold, with the same centres."""
    empty = window_statistics.init(
        masks.square(side), HEIGHT, WIDTH, in_channels=2, out_channels=2, dtype=inputs.dtype
    )
    return [
        window_statistics.update(empty, inputs[folds == fold], targets[folds == fold])
        for fold in range(folds.max() + 1)
    ]


@pytest.mark.parametrize("penalize_bias", [True, False])
def test_scores_equal_those_of_refitting(pairs, x64, penalize_bias):
    scores = model_selection.cross_validate(
        fold_statistics(*pairs), SIDES, PENALTIES, penalize_bias=penalize_bias
    )
    assert scores.errors.shape == (3, len(SIDES), len(PENALTIES), HEIGHT, WIDTH)
    np.testing.assert_array_equal(scores.num_pairs, [4, 7, 12])
    inputs, targets = (each.reshape(len(each), -1) for each in pairs)
    for fold in range(3):
        seen, unseen = fold != FOLD, fold == FOLD
        for i, side in enumerate(SIDES):
            window = masks.square(side)
            one = masks.offset_mask(HEIGHT, WIDTH, window.offsets)
            for j, penalty in enumerate(PENALTIES):
                missed = []
                for channel in range(2):
                    # Every target channel sees both input channels.
                    both = masks.across_channels(one, 2)
                    target = targets[:, channel::2]
                    params = masked_ridge.fit(
                        inputs[seen], target[seen], both, penalty, penalize_bias=penalize_bias
                    )
                    predicted = masked_ridge.predict(params, inputs[unseen], both)
                    missed.append(np.mean((np.asarray(predicted) - target[unseen]) ** 2, axis=0))
                expected = np.mean(missed, axis=0).reshape(HEIGHT, WIDTH)
                np.testing.assert_allclose(scores.errors[fold, i, j], expected, rtol=1e-5)
    pooled = np.tensordot([4 / 23, 7 / 23, 12 / 23], scores.errors, axes=1)
    np.testing.assert_allclose(model_selection.mean_errors(scores), pooled, rtol=1e-12)


def test_errors_of_channels_are_averaged(pairs, x64):
    """For channels with independent fits."""
    inputs, targets = pairs
    empty = synthesis.init_statistics(inputs, targets, window=3)
    folds = [synthesis.update(empty, inputs[fold == FOLD], targets[fold == FOLD]) for fold in range(3)]
    scores = model_selection.cross_validate(folds, [3], [0.4])
    for fold in range(3):
        model = synthesis.fit(inputs[fold != FOLD], targets[fold != FOLD], window=3, penalty=0.4)
        missed = synthesis.synthesize(model, inputs[fold == FOLD]) - targets[fold == FOLD]
        np.testing.assert_allclose(scores.errors[fold, 0, 0], np.mean(missed**2, axis=(0, 3)), rtol=1e-6)


def test_single_precision_is_close_to_double(pairs):
    single = [each.astype(np.float32) for each in pairs]
    scores = model_selection.cross_validate(fold_statistics(*single), SIDES, PENALTIES)
    assert scores.errors.dtype == jnp.float32
    with jax.enable_x64(True):
        exact = model_selection.cross_validate(fold_statistics(*pairs), SIDES, PENALTIES)
    np.testing.assert_allclose(scores.errors, exact.errors, rtol=2e-3)


def scores_of(errors: np.ndarray, penalties=(0.1, 1.0, 10.0)) -> Scores:
    """Scores of two windows; `errors` is `(num_folds, 2, num_penalties)`, the same for all pixels."""
    planes = np.broadcast_to(errors[..., None, None], (*errors.shape, 6, 5))
    windows = (masks.square(1), masks.square(3))
    return Scores(windows, jnp.array(penalties), jnp.ones(len(errors)), jnp.asarray(planes, jnp.float32))


def chosen(selection) -> tuple[int, float]:
    index, penalty = np.unique(selection.window_index), np.unique(selection.penalty)
    assert len(index) == len(penalty) == 1
    return int(index[0]), round(float(penalty[0]), 6)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_the_least_error_and_ties_to_the_larger_penalty(per_pixel):
    errors = np.array([[[3.0, 2.0, 2.0], [2.5, 2.0, 2.2]]] * 4)
    choose = model_selection.choose
    assert chosen(choose(scores_of(errors), per_pixel=per_pixel)) == (0, 10.0)
    # In any order of penalties; then ties go to the smaller window.
    assert chosen(choose(scores_of(errors[..., ::-1], (10.0, 1.0, 0.1)), per_pixel=per_pixel)) == (0, 10.0)
    errors[:, 1, 1] = 1.9
    assert chosen(choose(scores_of(errors), per_pixel=per_pixel)) == (1, 1.0)
    errors[1, 1, 1] = np.nan
    assert chosen(choose(scores_of(errors), per_pixel=per_pixel)) == (0, 10.0)


@pytest.mark.parametrize("per_pixel", [False, True])
def test_the_one_standard_error_rule(per_pixel):
    """The errors of four folds at the best candidate have the deviation 0.4, so the standard error is 0.2."""
    errors = np.array([[[3.0, 2.17, 2.19], [2.5, 2.0, 2.18]]] * 4)
    errors[:, 1, 1] += np.sqrt(3 / 4) * 0.4 * np.array([-1, 1, -1, 1])
    rule = {"rule": "one_standard_error", "per_pixel": per_pixel}
    assert chosen(model_selection.choose(scores_of(errors), **rule)) == (0, 10.0)
    errors[:, 0, 2] = 2.21
    assert chosen(model_selection.choose(scores_of(errors), **rule)) == (0, 1.0)
    errors[:, 0] = 3
    assert chosen(model_selection.choose(scores_of(errors), **rule)) == (1, 10.0)
    # Where all folds agree, the standard error is 0, and the least error wins.
    assert chosen(model_selection.choose(scores_of(errors[:1].repeat(4, axis=0)), **rule)) == (1, 1.0)


def test_pixels_choose_with_their_neighbours():
    errors = np.full((2, 2, 1, 12, 12), 2.0)
    errors[:, 0, :, :, :6] = 1.0  # The left half prefers the first window,
    errors[:, 1, :, 4, 9] = 9.0  # and a pixel of the right half was unlucky.
    errors[:, 0, :, :, 6:] = 3.0
    scores = Scores(
        (masks.square(1), masks.square(3)), jnp.ones(1), jnp.ones(2), jnp.asarray(errors, jnp.float32)
    )
    alone = model_selection.choose(scores, per_pixel=True, smoothing=0).window_index
    assert alone[4, 9] == 0
    together = model_selection.choose(scores, per_pixel=True, smoothing=2.0).window_index
    np.testing.assert_array_equal(together[:, :5], 0)
    np.testing.assert_array_equal(together[:, 7:], 1)


def test_solve_equals_a_fit_with_the_chosen_window_and_penalty(pairs, x64):
    statistics = fold_statistics(*pairs)
    scores = model_selection.cross_validate(statistics, SIDES, PENALTIES)
    whole = window_statistics.merge(window_statistics.merge(*statistics[:2]), statistics[2])
    one = model_selection.choose(scores)
    params, window = model_selection.solve(whole, one)
    assert window == scores.windows[int(one.window_index)]
    expected = window_statistics.solve(whole, window, one.penalty)
    np.testing.assert_array_equal(params.weights, expected.weights)

    rng = np.random.default_rng(1)
    each = one._replace(
        window_place=jnp.asarray(rng.integers(0, len(SIDES), (HEIGHT, WIDTH))).astype(float),
        penalty=jnp.asarray(rng.choice(PENALTIES, (HEIGHT, WIDTH))),
    )
    traced = jax.jit(lambda statistics, selection: model_selection.solve(statistics, selection)[0])
    for found in (model_selection.solve(whole, each)[0], traced(whole, each)):
        predicted = window_linear.predict(found, pairs[0], whole.window)
        for place, side in enumerate(SIDES):
            params = window_statistics.solve(whole, masks.square(side), each.penalty)
            own = window_linear.predict(params, pairs[0], masks.square(side))
            there = np.asarray(each.window_index) == place
            np.testing.assert_allclose(np.asarray(predicted)[:, there], np.asarray(own)[:, there], atol=1e-9)


def test_solve_rejects_a_choice_of_other_pictures(pairs, x64):
    statistics = fold_statistics(*pairs)
    choice = model_selection.choose(model_selection.cross_validate(statistics, SIDES, PENALTIES))
    with pytest.raises(InputError, match=r"solve: penalty must be a scalar or \(.*\), not \(1, "):
        model_selection.solve(statistics[0], choice._replace(penalty=np.ones((1, WIDTH))))
    smaller = window_statistics.init(masks.square(1), HEIGHT, WIDTH, dtype=jnp.float64)
    with pytest.raises(InputError, match="made for a window without"):
        model_selection.solve(smaller, choice)


def test_fit_chooses_and_solves(pairs, x64):
    statistics = fold_statistics(*pairs)
    windows = tuple(masks.square(side) for side in SIDES)
    whole = window_statistics.merge(window_statistics.merge(*statistics[:2]), statistics[2])
    expected = model_selection.choose(model_selection.cross_validate(statistics, windows, PENALTIES))
    params, window, selection = model_selection.fit(statistics, windows, PENALTIES)
    assert selection.tuned is None
    assert (selection.window_index.shape, selection.penalty) == ((), expected.penalty)
    assert window == windows[int(expected.window_index)]
    np.testing.assert_array_equal(params.weights, model_selection.solve(whole, expected)[0].weights)
    two, _, _ = model_selection.fit(statistics[:2], windows, PENALTIES)
    assert np.isfinite(two.weights).all()


def test_fit_tunes_one_window(x64):
    """The target is the pixel itself, so that the smaller window wins."""
    inputs = np.random.default_rng(0).random((23, HEIGHT, WIDTH, 1))
    windows = masks.square(1), masks.window([(0, -1), (0, 0)])
    empty = window_statistics.init(windows[1], HEIGHT, WIDTH, dtype=inputs.dtype)
    each = [inputs[fold == FOLD] for fold in range(3)]
    statistics = [window_statistics.update(empty, part, 0.5 * part) for part in each]
    fit = partial(model_selection.fit, penalties=[1e-3], tuned=True)
    params, window, selection = fit(statistics, windows)
    assert int(selection.window_index) == 0
    assert window == windows[0]
    assert params.weights.shape == (1, 1, 1, HEIGHT, WIDTH)
    assert selection.tuned.factors.shape == (1,)
    # Under jit the choice is unknown, so the weights have the places of the largest window.
    found = jax.jit(lambda folds: fit(folds, windows)[::2])(statistics)
    factors = found[1].tuned.factors
    assert factors[0] == 1
    np.testing.assert_allclose(found[0].weights[:, 1], params.weights[:, 0], rtol=1e-6)
    one, window, _ = fit(statistics, windows[:1], per_pixel=True)
    assert window == windows[0]
    np.testing.assert_allclose(one.weights, params.weights, rtol=1e-9)
    with pytest.raises(InputError, match=r"model_selection\.fit: penalties are tuned for one window"):
        fit(statistics, windows, per_pixel=True)
    with pytest.raises(InputError, match=r"model_selection\.fit: there must be three folds at least, not 2"):
        fit(statistics[:2], windows)


def test_gradients_with_respect_to_penalties(pairs, x64):
    statistics = fold_statistics(*pairs, side=3)

    def error(logarithm):
        penalties = jnp.exp(logarithm)[None]
        return model_selection.cross_validate(statistics, [3], penalties).errors.mean()

    start = jnp.asarray(np.random.default_rng(0).normal(size=(HEIGHT, WIDTH)))
    gradient = np.asarray(jax.grad(error)(start))
    for place in ((0, 0), (4, 3), (8, 6)):
        step = jnp.zeros_like(start).at[place].set(1e-4)
        slope = (error(start + step) - error(start - step)) / 2e-4
        np.testing.assert_allclose(gradient[place], slope, rtol=1e-5)


def test_folds_keep_people_together():
    subjects = [f"person {n % 11}" for n in range(30)]
    folds = model_selection.fold_of(subjects, num_folds=4)
    by_person = {
        subject: {int(fold) for s, fold in zip(subjects, folds, strict=True) if s == subject}
        for subject in subjects
    }
    assert all(len(each) == 1 for each in by_person.values())
    counts = np.bincount([min(each) for each in by_person.values()])
    assert sorted(counts) == [2, 3, 3, 3]
    assert (folds != model_selection.fold_of(subjects, num_folds=4, seed=1)).any()
    with pytest.raises(InputError, match="from 2 to the number of people, 11, not 12"):
        model_selection.fold_of(subjects, num_folds=12)
    assert set(model_selection.fold_of("ab", num_folds=2)) == {0, 1}
    assert set(model_selection.fold_of(subjects)) == set(range(5))


def test_there_are_at_most_as_many_folds_as_people():
    folds_of_pairs = partial(model_selection.folds_of_pairs, "here")
    # Without subjects every pair is another person.
    assert set(folds_of_pairs(7, None, 5)) == set(range(5))
    assert sorted(folds_of_pairs(3, None, 5)) == [0, 1, 2]
    assert set(folds_of_pairs(4, "aabb", 5)) == {0, 1}
    assert set(folds_of_pairs(7, None, 2)) == set(folds_of_pairs(7, None, 1)) == {0, 1}
    with pytest.raises(InputError, match="here: there are 3 pairs, but 2 subjects"):
        folds_of_pairs(3, "ab", 5)
    with pytest.raises(InputError, match="here: to choose, people are left out, and two at least"):
        folds_of_pairs(2, "aa", 5)
    with pytest.raises(TypeError, match="num_folds"):
        folds_of_pairs(3, None, 2.5)


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("num", [8, 12, 30])
@pytest.mark.parametrize("penalty", [1e-10, 1e-3, 2.0])
def test_leave_one_out_equals_refitting(x64, num, penalty, penalize_bias):
    """With fewer examples than inputs, about as many, and more."""
    rng = np.random.default_rng(num)
    inputs, targets = rng.random((num, 30)), rng.random((num, 30))
    mask = masks.square_mask(6, 5, 3)
    missed = np.asarray(
        model_selection.leave_one_out(inputs, targets, mask, penalty, penalize_bias=penalize_bias)
    )
    for left in (0, 3, num - 1):
        rest = np.arange(num) != left
        params = masked_ridge.fit(inputs[rest], targets[rest], mask, penalty, penalize_bias=penalize_bias)
        expected = targets[left] - np.asarray(masked_ridge.predict(params, inputs[left : left + 1], mask))[0]
        # At a small penalty the system is ill-conditioned, and refitting is no more exact.
        np.testing.assert_allclose(missed[left], expected, atol=1e-5 if penalty < 1e-6 else 1e-9)


def left_out(num: int, mask: masks.Mask) -> tuple[np.ndarray, np.ndarray]:
    """Float64 inputs and targets of `num` examples."""
    rng = np.random.default_rng(num)
    return rng.random((num, 30)), rng.random((num, len(mask.indices)))


@pytest.mark.parametrize("num", [8, 30])
def test_leave_one_out_takes_a_penalty_for_each_output(x64, num):
    """In batches, too. The bias is penalised, as published."""
    mask = masks.Mask(*(part[:17] for part in masks.square_mask(6, 5, 3)))
    inputs, targets = left_out(num, mask)
    penalties = np.linspace(0.1, 5, 17)
    whole = np.asarray(model_selection.leave_one_out(inputs, targets, mask, penalties))
    some = model_selection.leave_one_out(inputs, targets, mask, penalties, batch_size=4)
    np.testing.assert_allclose(some, whole, rtol=1e-9)
    params = masked_ridge.fit(inputs[1:], targets[1:], mask, penalties)
    np.testing.assert_allclose(
        whole[0], targets[0] - np.asarray(masked_ridge.predict(params, inputs[:1], mask))[0], atol=1e-9
    )


def test_leave_one_out_keeps_the_precision_of_its_arguments(x64):
    mask = masks.square_mask(6, 5, 3)
    inputs, targets = left_out(12, mask)
    single = model_selection.leave_one_out(inputs.astype(np.float32), targets.astype(np.float32), mask, 1.0)
    assert single.dtype == jnp.float32
    assert model_selection.leave_one_out(inputs.astype(np.float32), targets, mask, 1.0).dtype == jnp.float64


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda i, t, m: (i[1:], t, m, 1.0), r"inputs \(11, 30\), targets \(12, 30\) and a mask of 30"),
        (lambda i, t, m: (i, t[:, 1:], m, 1.0), r"targets \(12, 29\) and a mask of 30"),
        (lambda i, t, m: (i[:, 1:], t, m, 1.0), "points at input 29, but there are 29 inputs"),
        (lambda i, t, m: (i, t, m, np.ones(29)), r"penalty must be a scalar or \(30,\)"),
        (lambda i, t, m: (i, t, m, -1.0), "penalty must be 0 or more and finite, not -1"),
        (lambda i, t, m: (np.where(i > 0.99, np.nan, i), t, m, 1.0), "inputs holds .* values that are NaN"),
        (lambda i, t, m: (i, np.where(t > 0.99, np.nan, t), m, 1.0), "targets holds .* values that are NaN"),
    ],
)
def test_clear_errors_of_leave_one_out(change, words):
    mask = masks.square_mask(6, 5, 3)
    inputs, targets = (each.astype(np.float32) for each in left_out(12, mask))
    with jax.debug_nans(False), pytest.raises(InputError, match=words):
        model_selection.leave_one_out(*change(inputs, targets, mask))


def test_clear_errors(pairs):
    statistics = fold_statistics(*[each.astype(np.float32) for each in pairs])
    check = model_selection.cross_validate
    with pytest.raises(InputError, match="must be two folds at least, not 1"):
        check(statistics[:1], [3], [1.0])
    with pytest.raises(InputError, match="must be one window"):
        check(statistics, [], [1.0])
    with pytest.raises(InputError, match=r"cross_validate: .* made for a window without \(-3, -3\)"):
        check(statistics, [7], [1.0])
    for penalties in (1.0, [], np.ones((1, WIDTH, HEIGHT))):
        words = r"penalties must be \(num_penalties,\) or \(num_penalties, 9, 7\), not \("
        with pytest.raises(InputError, match=words):
            check(statistics, [3], penalties)
    with pytest.raises(InputError, match="penalties must be 0 or more and finite, not -1"):
        check(statistics, [3], [1.0, -1.0])
    empty = window_statistics.subtract(statistics[0], statistics[0])
    with pytest.raises(InputError, match="fold 1 has no pairs"):
        check([statistics[0], empty], [3], [1.0])
    one = window_statistics.update(empty, *(each[:1].astype(np.float32) for each in pairs))
    assert np.isfinite(check([statistics[0], one], [3], [1.0]).errors).all(), "a fold may be of one pair"
    scores = check(statistics, [3], [1.0])
    with pytest.raises(InputError, match="rule must be minimum or one_standard_error, not 'best'"):
        model_selection.choose(scores, rule="best")
    with pytest.raises(InputError, match="the same for all pixels"):
        model_selection.choose(scores._replace(penalties=jnp.ones((1, HEIGHT, WIDTH))))


def test_penalties_to_choose_from_are_scalars():
    with pytest.raises(InputError, match=r'here: .* penalty must be a scalar or "auto", not \(9, 7\)'):
        model_selection.candidates("here", "auto", np.ones((HEIGHT, WIDTH)), HEIGHT, WIDTH)
    windows, penalties = model_selection.candidates("here", "auto", 0.5, 5, WIDTH)
    assert windows == (masks.square(1), masks.square(3), masks.square(5))
    np.testing.assert_array_equal(penalties, [0.5])
    with pytest.raises(InputError, match="here"):
        model_selection.candidates("here", [3, 7], 0.5, 5, WIDTH)
    _, penalties = model_selection.candidates("here", 3, "auto", 5, WIDTH)
    np.testing.assert_allclose(penalties, 0.05 * 2.0 ** np.arange(12), rtol=1e-6)


@pytest.fixture(scope="module")
def noisy() -> list:
    """Folds whose targets are the pixel on the left in the left half, and noise in the right half."""
    rng = np.random.default_rng(3)
    inputs = rng.random((60, HEIGHT, 8, 1)).astype(np.float32)
    targets = np.roll(inputs, 1, axis=2)
    targets[:, :, 4:] = rng.random((60, HEIGHT, 4, 1))
    empty = window_statistics.init(masks.square(3), HEIGHT, 8)
    return [window_statistics.update(empty, inputs[fold::4], targets[fold::4]) for fold in range(4)]


@pytest.mark.parametrize("per_offset", [False, True])
def test_tuned_penalties_lower_the_error(noisy, per_offset):
    tuned = model_selection.tune(noisy, 3, 1.0, per_offset=per_offset, num_steps=40, smoothing=0.5)
    assert tuned.errors.shape == tuned.stopping_errors.shape == (41,)
    assert float(tuned.errors[-1]) < 0.97 * float(tuned.errors[0])
    step = int(tuned.num_steps)
    assert step == np.argmin(tuned.stopping_errors)
    assert float(tuned.stopping_errors[step]) < float(tuned.stopping_errors[0])
    # In the right half, weights only fit the noise.
    assert float(jnp.median(tuned.penalty[:, 5:])) > 2 * float(jnp.median(tuned.penalty[:, 1:3]))
    if per_offset:
        left, middle = 3, 4
        assert float(tuned.factors[left]) < float(tuned.factors[middle])
    else:
        assert tuned.factors is None
    # The errors equal those of cross-validation at these penalties.
    before = model_selection.mean_errors(model_selection.cross_validate(noisy, [3], [1.0]))
    shares = float(3 * tuned.errors[0] + tuned.stopping_errors[0]) / 4
    assert shares == pytest.approx(float(before.mean()), rel=1e-4)
    if not per_offset:
        again = model_selection.cross_validate(noisy, [3], tuned.penalty[None]).errors[-1].mean()
        assert float(again) == pytest.approx(float(tuned.stopping_errors[step]), rel=1e-4)


def test_tuning_descends_by_adam():
    """One logarithm for all pixels. The targets' squares are below Adam's epsilon."""
    rng = np.random.default_rng(3)
    inputs = rng.random((40, HEIGHT, 8, 1)).astype(np.float32)
    targets = 1e-5 * (np.roll(inputs, 1, axis=2) + rng.standard_normal(inputs.shape).astype(np.float32))
    window = masks.window([(0, -1), (0, 0)])
    empty = window_statistics.init(window, HEIGHT, 8, target_centre=0.0)
    folds = [window_statistics.update(empty, inputs[fold::4], targets[fold::4]) for fold in range(4)]

    @jax.jit
    @jax.value_and_grad
    def error(logarithm):
        return model_selection.cross_validate(folds, [window], jnp.exp(logarithm)[None]).errors[:-1].mean()

    logarithm, optimizer, errors = jnp.zeros(()), optax.adam(0.1), []
    moments = optimizer.init(logarithm)
    for _ in range(6):
        value, gradient = error(logarithm)
        errors.append(float(value))
        step, moments = optimizer.update(gradient / errors[0], moments)
        logarithm += step
    options = {"per_pixel": False, "per_offset": False}
    tuned = model_selection.tune(folds, window, 1.0, **options, num_steps=5)
    np.testing.assert_allclose(tuned.errors, errors, rtol=1e-4)
    assert errors[-1] < errors[0] * (1 - 1e-3), "nothing was to be gained"
    # By default it takes 60 steps, and offsets have factors.
    usual = model_selection.tune(folds, window, 1.0)
    assert usual.errors.shape == (61,)
    assert usual.factors.shape == (2,)


def test_tuning_stops_at_the_least_stopping_error(noisy):
    """The last fold has opposite targets, so that tuning on the others increases its error."""
    other = noisy[3]
    swapped = other._replace(target_sum=jax.tree.map(jnp.negative, other.target_sum))
    tuned = model_selection.tune([*noisy[:3], swapped], 3, 1.0, per_offset=False, num_steps=40, smoothing=0.5)
    assert int(tuned.num_steps) == int(np.argmin(tuned.stopping_errors))
    assert int(tuned.num_steps) < 40
    alone = model_selection.tune(noisy, 3, 1.0, per_pixel=False, per_offset=False, num_steps=3)
    assert np.unique(alone.penalty).size == 1
    with pytest.raises(InputError, match="three folds at least, not 2"):
        model_selection.tune(noisy[:2], 3, 1.0)
    with pytest.raises(InputError, match=r"penalty must be a scalar or \(9, 8\), not \(3,\)"):
        model_selection.tune(noisy, 3, np.ones(3))
    with pytest.raises(InputError, match="penalty must be above 0"):
        model_selection.tune(noisy, 3, 0.0)
