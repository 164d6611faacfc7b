"""Sums over streams and their checkpoints, without the command line."""

import signal
from functools import partial

import numpy as np
import pytest

from experiments.running import checkpoint, memory, signals, streaming
from experiments.running.streaming import Sums
from mlr_jax import array_file, synthesis
from mlr_jax.checks import InputError
from mlr_jax.datasets.streams import PairStream

NUM, SHAPE, BATCH = 11, (6, 5, 1), 3
OPTIONS = {"window": 3, "channels": "independent", "batch_size": BATCH}
SETTINGS = {"window": 3, "shape": SHAPE}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    neutral = rng.random((NUM, *SHAPE)).astype(np.float32)
    return neutral, 0.5 * neutral + 0.5 * rng.random((NUM, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def stream(pictures):
    subjects = tuple(f"s{n}" for n in range(NUM))
    return PairStream(subjects, SHAPE, lambda n: (pictures[0][n], pictures[1][n]), {"loader": "arrays"})


@pytest.fixture(scope="module")
def like(stream):
    return streaming.statistics_like(stream, **OPTIONS)


def accumulate(
    stream, resumed=None, *, save=lambda _: None, save_every=NUM, is_stopped=lambda: False, leave_out=None
):
    advance = lambda _: None  # noqa: E731
    options = {"save": save, "save_every": save_every, "is_stopped": is_stopped, "advance": advance}
    options["leave_out"] = leave_out
    return streaming.accumulate(stream, resumed, **OPTIONS, **options).sums


def as_bytes(sums: Sums) -> dict[str, bytes]:
    arrays = checkpoint._by_name(sums.statistics)
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}


def test_all_pairs_are_summed(stream, pictures):
    sums = accumulate(stream)
    assert sums.num_pairs == float(sums.statistics.groups.num_pairs[0]) == NUM
    model, whole = synthesis.solve(sums.statistics), synthesis.fit(*pictures)
    np.testing.assert_allclose(model.weights, whole.weights, atol=1e-5)
    np.testing.assert_allclose(model.bias, whole.bias, atol=1e-5)


@pytest.mark.parametrize("num_batches", [1, 2, 3, 4])
def test_a_stop_changes_no_bit(tmp_path, stream, like, num_batches):
    """After each of the four batches, the last of which is shorter."""
    left = iter([False] * (num_batches - 1) + [True] * 9)
    save = partial(streaming.save, tmp_path / "sums.npz", SETTINGS)
    stopped = accumulate(stream, save=save, is_stopped=lambda: next(left))
    assert stopped.num_pairs == min(NUM, num_batches * BATCH)
    resumed = streaming.load(tmp_path / "sums.npz", SETTINGS, like)
    assert resumed.num_pairs == stopped.num_pairs
    assert as_bytes(accumulate(stream, resumed)) == as_bytes(accumulate(stream))


@pytest.mark.parametrize(
    ("every", "expected"), [(1, [3, 6, 9, 11]), (4, [6, 9, 11]), (6, [6, 11]), (20, [11])]
)
def test_sums_are_saved_at_the_batches_ends(stream, every, expected):
    saved = []
    accumulate(stream, save=lambda sums: saved.append(sums.num_pairs), save_every=every)
    assert saved == expected


def test_what_was_summed_is_kept_when_a_picture_is_broken(stream):
    def read(index):
        if index == 7:
            raise InputError("cannot read 7.png")
        return stream.read(index)

    saved = []
    with pytest.raises(InputError, match=r"cannot read 7\.png"):
        accumulate(stream._replace(read=read), save=lambda sums: saved.append(sums.num_pairs))
    assert saved == [6]


def unreadable(stream, places):
    def read(index):
        if index in places:
            raise InputError(f"cannot read {index}.png")
        return stream.read(index)

    return stream._replace(read=read)


@pytest.mark.parametrize("places", [{7}, {0, 1, 2}, {3, 4, 10}, {9, 10}])
def test_pairs_that_cannot_be_read_are_left_out(tmp_path, stream, like, pictures, places):
    """Some of a batch or all of it; and what was resumed goes on to the same bits."""
    broken, said = unreadable(stream, places), []
    sums = accumulate(broken, leave_out=said.append)
    assert sums.num_pairs == NUM
    assert said == list(sums.left_out) == [f"s{n}: cannot read {n}.png" for n in sorted(places)]
    kept = [n for n in range(NUM) if n not in places]
    assert float(sums.statistics.groups.num_pairs[0]) == len(kept)
    model, whole = synthesis.solve(sums.statistics), synthesis.fit(*(each[kept] for each in pictures))
    np.testing.assert_allclose(model.weights, whole.weights, atol=1e-5)

    path = tmp_path / "sums.npz"
    left = iter([False, True, True])
    resumed = accumulate(broken, leave_out=said.append, is_stopped=lambda: next(left, True))
    assert 0 < resumed.num_pairs < NUM
    streaming.save(path, SETTINGS, resumed)
    again = accumulate(broken, streaming.load(path, SETTINGS, like), leave_out=said.append)
    assert again.left_out == sums.left_out
    assert as_bytes(again) == as_bytes(sums)


def test_when_no_pair_can_be_read(stream):
    with pytest.raises(InputError, match=r"none of the 11 pairs can be read; the first is s0: cannot read 0"):
        accumulate(unreadable(stream, range(NUM)), leave_out=lambda _: None)


def test_finished_sums_are_not_read_again(stream):
    whole = accumulate(stream)
    assert accumulate(stream._replace(read=None), whole) is whole


def test_a_checkpoint_comes_back_to_the_bit(tmp_path, stream, like):
    sums = accumulate(stream)
    streaming.save(tmp_path / "sums.npz", SETTINGS, sums)
    again = streaming.load(tmp_path / "sums.npz", SETTINGS, like)
    assert again.num_pairs == NUM
    assert again.statistics.mode == sums.statistics.mode
    assert again.statistics.groups.window == sums.statistics.groups.window
    assert as_bytes(again) == as_bytes(sums)
    assert streaming.load(tmp_path / "none.npz", SETTINGS, like) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"window": 5, "shape": SHAPE},
            "was made with window=3, not 5; use another --output_dir, or --restart",
        ),
        ({"window": 5, "shape": (1,)}, r"with window=3, not 5, shape=\[6, 5, 1\], not \[1\]; use"),
        ({"window": 3, "shape": SHAPE, "files": "b"}, "with other pictures .by their paths, sizes and times"),
    ],
)
def test_other_settings_are_named(tmp_path, stream, like, settings, words):
    streaming.save(tmp_path / "sums.npz", SETTINGS, accumulate(stream))
    with pytest.raises(InputError, match=words):
        streaming.load(tmp_path / "sums.npz", settings, like)


def test_a_broken_checkpoint_says_how_to_go_on(tmp_path, stream, like):
    path = tmp_path / "sums.npz"
    streaming.save(path, SETTINGS, accumulate(stream))
    whole = path.read_bytes()
    for broken in (whole[:-50], whole.replace(b"\x00\x00", b"\x00\x07", 400), b"", b"rubbish"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"sums\.npz is damaged.*use another --output_dir, or --restart"):
            streaming.load(path, SETTINGS, like)
    path.write_bytes(whole)
    kind = streaming._CHECKPOINT[:2]
    arrays, header = array_file.load(path, *kind)
    array_file.save(path, *kind, arrays, header | {"more": 1})
    with pytest.raises(InputError, match="does not say what it was made with; use another"):
        streaming.load(path, SETTINGS, like)
    path.write_bytes(whole)
    other = streaming.statistics_like(stream, **OPTIONS | {"window": 5})
    with pytest.raises(InputError, match="has other arrays than its settings ask for; use another"):
        streaming.load(path, SETTINGS, other)


def test_sums_that_do_not_fit_are_refused(monkeypatch, stream, like):
    monkeypatch.setattr(streaming, "_MANY_BYTES", 1)
    streaming.check_memory(like, stream, BATCH)
    for available in (2**8, 2**14):
        monkeypatch.setattr(memory, "available_bytes", lambda free=available: free)
        with pytest.raises(InputError, match=r"would need 0.0 GiB of memory at 6 x 5, .* smaller --window"):
            streaming.check_memory(like, stream, BATCH)
    monkeypatch.setattr(memory, "available_bytes", lambda: None)
    streaming.check_memory(like, stream, BATCH)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_acts(number):
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with signals.noted() as noted:
        assert not noted
        signal.raise_signal(number)
        assert noted == [number]
        assert {each: signal.getsignal(each) for each in before} == before
    with signals.noted():
        pass
    assert {each: signal.getsignal(each) for each in before} == before
