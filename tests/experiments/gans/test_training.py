"""The training loop: when it ends, and that it resumes to the same bits."""

import contextlib
import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.gans import early_stopping, fitting, pix2pix, training
from experiments.gans.contract import Task
from experiments.gans.expression_sets import ExpressionSet, of_pairs
from experiments.gans.training import Limits
from mlr_jax.checks import InputError
from mlr_jax.datasets.pairs import Pairs

pytestmark = pytest.mark.usefixtures("unoptimized_file")


@pytest.fixture(scope="module")
def people() -> ExpressionSet:
    rng = np.random.default_rng(0)
    neutral = rng.random((6, 32, 32, 1), np.float32)
    subjects = tuple(f"person {n}" for n in range(6))
    return of_pairs(Pairs(neutral, np.clip(neutral + 0.2, 0, 1), subjects))


@pytest.fixture(scope="module")
def gan():
    return pix2pix.make(Task(32, 1, num_people=4, num_epochs=10), width=2)


def run(gan, people, folder, limits, settings=None):
    return training.train(
        gan,
        people.pictures[:4],
        early_stopping.requests(people.pictures[4:], 0, [1]),
        folder=folder,
        key=jax.random.key(3),
        limits=limits,
        settings=settings or {"width": 2},
        is_quiet=True,
    )


def test_resumes_to_the_same_bits(gan, people, tmp_path, monkeypatch):
    whole = run(gan, people, tmp_path / "whole", Limits(1e6, num_epochs=3))
    assert whole.ended_by == "epochs"
    assert whole.num_steps == 12
    first = run(gan, people, tmp_path / "parts", Limits(1e6, num_epochs=1))
    assert first.num_steps == 4
    # Ctrl-C in the middle of the second epoch.
    with monkeypatch.context() as patch:
        patch.setattr(training.signals, "noted", lambda: contextlib.nullcontext([2]))
        stopped = run(gan, people, tmp_path / "parts", Limits(1e6, num_epochs=3))
    assert stopped.ended_by == "signal"
    assert stopped.num_steps == 5
    last = run(gan, people, tmp_path / "parts", Limits(1e6, num_epochs=3))
    for one, other in zip(jax.tree.leaves(whole.params), jax.tree.leaves(last.params), strict=True):
        np.testing.assert_array_equal(one, other)
    for row, other in zip(whole.curve, last.curve, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    # A finished training does not continue, and can be loaded.
    again = run(gan, people, tmp_path / "parts", Limits(1e6, num_epochs=3))
    assert again.num_steps == 12
    loaded = training.load(tmp_path / "parts", gan, {"width": 2})
    for one, other in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(last.params), strict=True):
        np.testing.assert_array_equal(one, other)


def test_keeps_the_best_and_writes_the_curve(gan, people, tmp_path):
    trained = run(gan, people, tmp_path, Limits(1e6, num_epochs=4))
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    asked = early_stopping.requests(people.pictures[4:], 0, [1])
    _, generate = training.compiled(gan)
    made = np.asarray(generate(trained.params, jnp.asarray(asked.inputs), jnp.asarray(asked.conditions)))
    least = min(float(row["held_out_l1"]) for row in rows)
    assert float(np.abs(made - asked.truths).mean()) == pytest.approx(least, rel=1e-5)
    assert (tmp_path / "samples.png").read_bytes()[:4] == b"\x89PNG"


def test_ends_by_error_budget_or_epochs():
    curve = [{"held_out_l1": error} for error in (3.0, 2.0, 1.0, 1.5, 1.2)]
    ended = training._ended
    assert ended(curve, 0, Limits(10, num_epochs=9, patience=2)) == "error"
    assert ended(curve, 0, Limits(10, num_epochs=9, patience=3)) == ""
    assert ended(curve, 11, Limits(10, num_epochs=9, patience=3)) == "budget"
    assert ended(curve, 0, Limits(10, num_epochs=5, patience=3)) == "epochs"
    assert ended([], 99, Limits(10)) == ""


def test_the_budget_ends_training(gan, people, tmp_path):
    trained = run(gan, people, tmp_path, Limits(0.0, num_epochs=10))
    assert trained.ended_by == "budget"
    assert trained.num_steps == 4


def test_a_training_with_other_settings_is_rejected(gan, people, tmp_path):
    run(gan, people, tmp_path, Limits(0.0))
    with pytest.raises(InputError, match="was made with width=2, not 3"):
        run(gan, people, tmp_path, Limits(0.0), {"width": 3})
    with pytest.raises(InputError, match="was made with width=2, not 3"):
        training.load(tmp_path, gan, {"width": 3})
    with pytest.raises(InputError, match="holds no trained GAN"):
        training.load(tmp_path / "elsewhere", gan, {"width": 2})


def test_early_stopping_holds_out_people():
    subjects = ["a", "b", "a", "c", "d", "e", "b"]
    seen, left = early_stopping.split(subjects, fraction=0.3)
    assert sorted([*seen, *left]) == list(range(7))
    assert not {subjects[i] for i in seen} & {subjects[i] for i in left}
    assert len({subjects[i] for i in left}) == 2
    with pytest.raises(InputError, match="needs two people"):
        early_stopping.split(["a", "a"])


def test_early_stopping_requests_every_target_of_every_person():
    pictures = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 2, 2, 1)
    asked = early_stopping.requests(pictures, 0, [1, 2])
    np.testing.assert_array_equal(asked.inputs, pictures[[0, 0, 1, 1], 0])
    np.testing.assert_array_equal(asked.truths, pictures[[0, 0, 1, 1], [1, 2, 1, 2]])
    np.testing.assert_array_equal(asked.conditions.argmax(axis=1), [1, 2, 1, 2])


def test_unsuitable_sizes_are_rejected(people):
    odd = people._replace(pictures=np.zeros((2, 2, 24, 24, 1), np.float32))
    with pytest.raises(InputError, match="32, 64, 128"):
        fitting.make("pix2pix", odd, num_people=2, num_epochs=1)
