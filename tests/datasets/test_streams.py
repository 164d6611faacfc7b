import inspect
import threading
import time

import numpy as np
import pytest

from mlr_jax import datasets, images
from mlr_jax.checks import InputError
from mlr_jax.datasets import Pairs, folder, manifest, source as earlier, streams, synthetic
from mlr_jax.datasets.streams import PairStream

NUM, SHAPE = 10, (2, 3, 1)


def picture(number: int) -> np.ndarray:
    return np.full(SHAPE, number / 100, np.float32)


@pytest.fixture
def counted():
    """A stream of pictures that tell their number, and a list of those that were read."""
    seen = []

    def read(index):
        seen.append(index)
        return picture(index), picture(index + 50)

    return PairStream(tuple(f"s{n}" for n in range(NUM)), SHAPE, read, {"of": "numbers"}), seen


def wait_for(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("size", "start", "sizes"), [(4, 0, [4, 4, 2]), (5, 5, [5]), (20, 3, [7]), (4, 10, [])]
)
def test_batches_have_all_pairs_in_order(counted, size, start, sizes):
    source, _ = counted
    got = list(streams.batches(source, size, start=start))
    assert [len(neutral) for neutral, _ in got] == sizes
    for side, first in ((0, 0), (1, 50)):
        numbers = [value for batch in got for value in batch[side]]
        expected = [picture(first + n) for n in range(start, NUM)]
        np.testing.assert_array_equal(
            np.array(numbers).reshape(-1, *SHAPE), np.array(expected).reshape(-1, *SHAPE)
        )


def test_the_order_does_not_depend_on_the_speed_of_readers(counted):
    source, _ = counted

    def slowly(index):
        time.sleep(0.005 * (index % 2))
        return source.read(index)

    for neutral, _ in streams.batches(source._replace(read=slowly), NUM):
        np.testing.assert_array_equal(neutral, [picture(n) for n in range(NUM)])


def test_reads_a_few_batches_ahead(counted):
    """One batch is in use, and two wait."""
    source, seen = counted
    reader = streams.batches(source, 2)
    next(reader)
    wait_for(lambda: len(seen) == 6)
    time.sleep(0.05)
    assert len(seen) == 6
    next(reader)
    wait_for(lambda: len(seen) == 8)


def test_a_closed_iterator_stops_reading(counted):
    source, seen = counted
    before = threading.active_count()
    reader = streams.batches(source, 1)
    next(reader)
    reader.close()
    assert threading.active_count() == before
    assert len(seen) <= 3


def test_an_unreadable_picture_raises_at_its_batch(counted):
    source, _ = counted

    def read(index):
        if index >= 5:
            raise InputError(f"cannot read {index}.png")
        return source.read(index)

    before = threading.active_count()
    reader = streams.batches(source._replace(read=read), 2)
    assert [len(next(reader)[0]) for _ in range(2)] == [2, 2]
    with pytest.raises(InputError, match=r"cannot read 5\.png"):
        next(reader)
    assert threading.active_count() == before


def test_unreadable_pictures_can_be_left_out(counted):
    source, _ = counted

    def read(index):
        if index in (1, 4, 5):
            raise InputError(f"cannot read {index}.png")
        return source.read(index)

    said = []
    parts = list(streams.batches(source._replace(read=read), 2, leave_out=lambda *why: said.append(why)))
    assert [len(neutral) for neutral, _ in parts[:3]] == [1, 2, 0]
    np.testing.assert_array_equal(parts[0][0][0], picture(0))
    assert [(place, str(error)) for place, error in said] == [(n, f"cannot read {n}.png") for n in (1, 4, 5)]


def test_take_selects_pairs_in_the_given_order(counted):
    source, _ = counted
    some = streams.take(streams.take(source, [7, 3, 5]), [2, 0])
    assert some.subjects == ("s5", "s7")
    np.testing.assert_array_equal(some.read(1)[0], picture(7))
    keys = [streams.take(source, indices).key for indices in ([1, 2], [2, 1], [1, 2])]
    assert keys[0] == keys[2] != keys[1]
    assert source.key.items() < keys[0].items()
    assert streams.take(streams.take(source, [7, 3, 5]), [1]).key != streams.take(source, [1]).key


def test_the_earlier_name_still_works():
    assert earlier.Source is datasets.Source is PairStream
    assert earlier.batches is streams.batches


def test_load_takes_the_options_of_its_stream_and_its_own():
    signature = inspect.signature(folder.load)
    names = [*inspect.signature(folder.stream).parameters, "cache_dir", "progress"]
    assert list(signature.parameters) == names
    assert signature.return_annotation is Pairs
    assert (folder.load.__module__, folder.load.__qualname__) == (folder.__name__, "load")
    arguments = folder.load.__doc__.partition("Args:\n")[2].partition("\n\n")[0]
    assert [line.split(":")[0].strip() for line in arguments.splitlines() if line[2] != " "] == names
    assert "One pair for each name, in alphabetical order" in folder.load.__doc__
    with pytest.raises(TypeError, match="unexpected keyword argument 'size'"):
        folder.load("somewhere", size=3)


def test_batch_size_must_be_positive(counted):
    with pytest.raises(InputError, match="batch_size must be 1 or more, not 0"):
        next(streams.batches(counted[0], 0))


@pytest.fixture
def root(tmp_path, rng):
    for expression in ("neutral", "happy"):
        (tmp_path / expression).mkdir()
        for n in range(5):
            images.write(tmp_path / expression / f"p{n}.png", rng.random((24, 20, 3)))
    return tmp_path


@pytest.mark.parametrize("options", [{"image_size": 16}, {"image_size": None, "channels": 1}])
def test_the_stream_of_a_folder_has_the_pairs_of_load(root, options):
    whole = folder.load(root, **options)
    source = folder.stream(root, **options)
    assert source.subjects == whole.subjects
    assert source.shape == whole.neutral.shape[1:]
    parts = list(streams.batches(source, 2))
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole.neutral)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), whole.expressive)


def test_opening_a_folder_reads_the_first_picture_only(root):
    images.write(root / "neutral" / "p3.png", np.zeros((8, 8, 3)))
    (root / "happy" / "p4.png").write_text("rubbish")
    source = folder.stream(root, image_size=16)
    with pytest.raises(InputError, match=r"p3\.png is 8 x 8 pixels, but .*p0\.png is 20 x 24"):
        source.read(3)
    with pytest.raises(InputError, match=r"cannot read .*happy.p4\.png as a picture"):
        source.read(4)
    (root / "neutral" / "p0.png").write_text("rubbish")
    with pytest.raises(InputError, match=r"cannot read .*neutral.p0\.png as a picture"):
        folder.stream(root, image_size=16)


def test_the_key_of_a_folder_changes_with_its_files(root):
    before = folder.stream(root).key
    assert folder.stream(root).key == before
    assert folder.stream(root, source="happy", target="neutral").key != before
    assert folder.stream(root, image_size=16).key != before
    images.write(root / "happy" / "p4.png", np.zeros((24, 20, 3)))
    assert folder.stream(root).key != before


def test_the_stream_of_synthetic_faces_has_the_pairs_of_load():
    """Across the border of two drawn batches, in any order."""
    options = {"image_size": 16, "channels": 1, "num_subjects": 10, "seed": 3}
    whole = synthetic.load(**options)
    source = synthetic.stream(**options)
    assert source.subjects == whole.subjects
    assert source.shape == whole.neutral.shape[1:]
    for n in (9, 0, 8, 7):
        np.testing.assert_array_equal(source.read(n)[0], whole.neutral[n])
        np.testing.assert_array_equal(source.read(n)[1], whole.expressive[n])
    assert synthetic.stream(**options | {"seed": 4}).key != source.key
    with pytest.raises(InputError, match=r"^synthetic: image_size must be 16 or more"):
        synthetic.stream(image_size=8)


def test_copies_are_one_person(tmp_path, rng):
    """By content: under other names, in either expression, and in chains; not by size or name."""
    for expression in ("neutral", "happy"):
        (tmp_path / expression).mkdir()
        for name in "abcdefg":
            images.write(tmp_path / expression / f"{name}.png", rng.uniform(size=(16, 16, 3)))
    assert streams.find_copies(folder.stream(tmp_path)) == ({}, ())
    files = {
        (side, name): tmp_path / side / f"{name}.png" for side in ("neutral", "happy") for name in "abcdefg"
    }
    files["neutral", "c"].write_bytes(files["neutral", "a"].read_bytes())
    files["happy", "e"].write_bytes(files["neutral", "c"].read_bytes())
    files["happy", "g"].write_bytes(files["happy", "b"].read_bytes())
    files["neutral", "g"].write_bytes(files["neutral", "d"].read_bytes())
    copies = streams.find_copies(folder.stream(tmp_path))
    assert copies.people == {"a": "a", "c": "a", "e": "a", "b": "b", "g": "b", "d": "b"}
    assert [[path.removeprefix(f"{tmp_path}/") for path in group] for group in copies.files] == [
        ["happy/b.png", "happy/g.png"],
        ["happy/e.png", "neutral/a.png", "neutral/c.png"],
        ["neutral/d.png", "neutral/g.png"],
    ]
    taken = streams.take(folder.stream(tmp_path), [2, 4, 5])
    assert streams.find_copies(taken).people == {"c": "c", "e": "c"}


def test_a_pictures_own_pairs_are_no_copies(tmp_path, rng):
    """One neutral picture with several expressions of one person."""
    for name in ("n", "h", "s"):
        images.write(tmp_path / f"{name}.png", rng.uniform(size=(16, 16, 3)))
    (tmp_path / "manifest.csv").write_text(
        "subject,neutral,expressive,expression\nanna,n.png,h.png,happy\nanna,n.png,s.png,happy\n"
    )
    assert streams.find_copies(manifest.stream(tmp_path)).people == {}
    with (tmp_path / "manifest.csv").open("a") as table:
        table.write("bert,n.png,s.png,happy\n")
    assert streams.find_copies(manifest.stream(tmp_path)).people == {"anna": "anna", "bert": "anna"}
