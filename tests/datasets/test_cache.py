import numpy as np
import pytest

from mlr_jax.checks import InputError
from mlr_jax.datasets import cache
from mlr_jax.datasets.pairs import Pairs


@pytest.fixture
def compute(rng):
    """Makes pairs, and counts its calls."""
    calls = []

    def run() -> Pairs:
        calls.append(1)
        pictures = rng.random((2, 4, 4, 3)).astype(np.float32)
        return Pairs(pictures, 1 - pictures, ("ann", "bob"))

    run.calls = calls
    return run


def test_computes_once_for_each_key(tmp_path, compute):
    folder = tmp_path / "new" / "cache"
    first = cache.load_or_compute(folder, {"size": 4}, compute)
    again = cache.load_or_compute(folder, {"size": 4}, compute)
    assert len(compute.calls) == 1
    np.testing.assert_array_equal(first.neutral, again.neutral)
    np.testing.assert_array_equal(first.expressive, again.expressive)
    assert again.subjects == ("ann", "bob")
    cache.load_or_compute(folder, {"size": 5}, compute)
    assert len(compute.calls) == 2
    assert len(list(folder.iterdir())) == 2, "no unfinished file may stay"


def test_without_a_folder_pairs_are_computed_every_time(tmp_path, compute):
    cache.load_or_compute(None, {}, compute)
    cache.load_or_compute(None, {}, compute)
    assert len(compute.calls) == 2


def test_a_broken_file_is_replaced(tmp_path, compute, caplog):
    cache.load_or_compute(tmp_path, {}, compute)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    cache.load_or_compute(tmp_path, {}, compute)
    assert len(compute.calls) == 2
    assert "are made anew" in caplog.text
    cache.load_or_compute(tmp_path, {}, compute)
    assert len(compute.calls) == 2


def test_an_unwritable_folder_gives_a_warning(tmp_path, compute, caplog):
    (tmp_path / "file").write_text("in the way")
    pairs = cache.load_or_compute(tmp_path / "file", {}, compute)
    assert pairs.subjects == ("ann", "bob")
    assert "cannot keep the decoded pictures" in caplog.text


def test_the_fingerprint_changes_with_the_file(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"one")
    before = cache.fingerprint([path])
    assert before == cache.fingerprint([path])
    path.write_bytes(b"other")
    assert cache.fingerprint([path]) != before
    with pytest.raises(InputError, match=r"cannot read .*gone\.png: No such file"):
        cache.fingerprint([tmp_path / "gone.png"])
