"""Trials and their cache."""

import numpy as np
import pytest

from experiments.comparing import trials
from experiments.comparing.methods import METHODS
from experiments.comparing.methods.method import Settings
from experiments.comparing.trials import Protocol
from experiments.running import result_cache
from mlr_jax.array_file import ArrayFile
from mlr_jax.checks import InputError
from mlr_jax.datasets.pairs import Pairs, folds, split

GRID = {"penalty": (10.0, 0.1)}


@pytest.fixture(scope="module")
def pairs() -> tuple[Pairs, Pairs]:
    rng = np.random.default_rng(0)
    neutral = rng.random((14, 12, 12, 1), np.float32)
    expressive = np.clip(neutral + 0.1 * rng.random((14, 12, 12, 1), np.float32), 0, 1)
    return split(Pairs(neutral, expressive, tuple("abcdefghijklmn")), test_fraction=0.2)


def test_a_trial_is_loaded_from_the_cache(pairs, tmp_path, monkeypatch):
    options = {"protocol": Protocol(num_folds=3, num_pictures=2), "folder": tmp_path}
    first = trials.run("l2_ridge", GRID, *pairs, 0, **options)
    monkeypatch.setattr(trials, "_run", None)  # Running a trial now fails.
    again = trials.run("l2_ridge", GRID, *pairs, 0, **options)
    assert again.row == first.row
    assert list(again.candidates) == list(first.candidates)
    assert len(first.candidates) == 2
    assert again.people == pairs[1].subjects
    np.testing.assert_array_equal(again.errors, first.errors)
    assert again.errors.dtype == first.errors.dtype
    np.testing.assert_array_equal(again.pictures, first.pictures)
    assert first.pictures.shape == (2, 12, 12, 1)


def test_a_trial_measures_the_method(pairs, tmp_path):
    train, test = pairs
    grid = {"penalty": (0.5,)}
    trial = trials.run("l2_ridge", grid, train, test, 7, protocol=Protocol(), folder=tmp_path)
    method = METHODS["l2_ridge"].make(Settings())
    pictures = np.asarray(method.predict(method.fit(*train[:2], penalty=0.5), test.neutral))
    np.testing.assert_allclose(
        trial.errors, np.mean((pictures - test.expressive) ** 2, axis=(1, 2, 3)), rtol=1e-4
    )
    assert trial.row["mse"] == pytest.approx(trial.errors.mean())
    np.testing.assert_allclose(trial.pictures / 255, np.clip(pictures, 0, 1), atol=0.51 / 255)
    assert (trial.row["seed"], trial.row["choice"], trial.candidates) == (7, "penalty=0.5", [])


def test_a_trial_chooses_by_the_error_over_folds(pairs, tmp_path):
    train, test = pairs
    trial = trials.run("l2_ridge", GRID, train, test, 3, protocol=Protocol(num_folds=3), folder=tmp_path)
    method = METHODS["l2_ridge"].make(Settings())
    errors = []
    for penalty in GRID["penalty"]:
        total = 0.0
        for part, held_out in folds(train, num_folds=3, seed=3):
            pictures = method.predict(method.fit(*part[:2], penalty=penalty), held_out.neutral)
            total += float(np.sum(np.mean((pictures - held_out.expressive) ** 2, axis=(1, 2, 3))))
        errors.append(total / len(train.subjects))
    np.testing.assert_allclose([error for _, error in trial.candidates], errors, rtol=1e-3)
    assert trial.row["choice"] == f"penalty={GRID['penalty'][int(np.argmin(errors))]:g}"


def test_name_settings_and_pairs_each_change_the_cache_key(pairs, tmp_path):
    """Each change is computed again, and none replaces another."""
    train, test = pairs
    changed = train._replace(neutral=train.neutral + np.float32(1e-6))
    renamed = train._replace(subjects=tuple(reversed(train.subjects)))
    variants = [
        ("a", {"x": 1}, (train, test)),
        ("b", {"x": 1}, (train, test)),
        ("a", {"x": 2}, (train, test)),
        ("a", {"x": 1}, (changed, test)),
        ("a", {"x": 1}, (renamed, test)),
        ("a", {"x": 1}, (test, train)),
    ]

    def made(value: int) -> list[int]:
        found = []
        for place, (name, what, each) in enumerate(variants):
            piece = ArrayFile({}, {"value": [value, place]})
            found.append(result_cache.load_or_compute(tmp_path, name, what, each, lambda piece=piece: piece))
        return [each.header["value"] for each in found]

    assert made(0) == made(1) == [[0, place] for place in range(len(variants))]
    assert len(list(tmp_path.iterdir())) == len(variants)


def test_other_code_changes_the_cache_key(pairs, tmp_path, monkeypatch):
    def compute() -> ArrayFile:
        return ArrayFile({"x": np.ones(1)}, {})

    result_cache.load_or_compute(tmp_path, "a", {}, pairs, compute)
    monkeypatch.setattr(result_cache, "_code", lambda: "changed")
    result_cache.load_or_compute(tmp_path, "a", {}, pairs, compute)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_entry_is_computed_again(pairs, tmp_path):
    def piece(value: int) -> ArrayFile:
        return result_cache.load_or_compute(
            tmp_path, "a", {}, pairs, lambda: ArrayFile({"x": np.full(2, value)}, {"v": value})
        )

    piece(1)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    assert piece(2).header == {"v": 2}
    assert piece(3).header == {"v": 2}


def test_a_failure_is_not_cached(pairs, tmp_path):
    """A window of even size, then folds of a single person."""
    protocol = Protocol(num_pictures=1)
    with pytest.raises(InputError, match="odd"):
        trials.run(
            "masked_ridge",
            {"window": (4,), "penalty": (1.0,)},
            *pairs,
            0,
            protocol=protocol,
            folder=tmp_path,
        )
    assert not list(tmp_path.iterdir())
    alone = pairs[0]._replace(subjects=("a",) * len(pairs[0].subjects))
    with pytest.raises(InputError, match="two people"):
        trials.run("l2_ridge", GRID, alone, pairs[1], 0, protocol=Protocol(num_folds=2), folder=tmp_path)
