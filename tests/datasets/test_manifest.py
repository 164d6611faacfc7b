import csv

import numpy as np
import pytest

from mlr_jax import images
from mlr_jax.checks import InputError
from mlr_jax.datasets import landmarks, manifest
from tests.datasets import drawn

# Subject, neutral and expressive picture, expression; the names of pictures are their numbers.
ROWS = (
    ("bert", "0.png", "deep/1.png", "happy"),
    ("anna", "2.png", "deep/3.png", "happily surprised"),
    ("anna", "2.png", "deep/4.png", "happy"),
    ("bert", "5.png", "deep/6.png", "happy"),
)
NEUTRAL, EXPRESSIVE = [0, 2, 5], [1, 4, 6]  # Of the happy rows.


def shape(number: int, *, resting: bool) -> np.ndarray:
    return drawn.landmarks(50 + 4 * number, tilt=number, mouth=(1 if resting else 0.9))


def write(path, rows, columns=()) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "neutral", "expressive", "expression", *columns])
        writer.writerows(rows)


@pytest.fixture
def table(tmp_path):
    """Pictures of one size, without landmarks."""
    folder = tmp_path / "faces"
    for row in ROWS:
        for file in row[1:3]:
            number = int(file.split("/")[-1][0])
            drawn.draw(folder / file, number, shape(number, resting=file == row[1]))
    write(folder / "cfee.csv", ROWS)
    return folder / "cfee.csv"


@pytest.fixture
def landmarks_table(table):
    """The same with landmarks, unused columns, and a neutral picture of another size."""
    rows = []
    for n, row in enumerate(ROWS):
        numbers = [int(file.split("/")[-1][0]) for file in row[1:3]]
        points = [shape(number, resting=side == 0) for side, number in enumerate(numbers)]
        rows.append([*row, f"note {n}", *points[0].ravel(), *points[1].ravel()])
    picture = images.read(table.parent / "5.png")
    images.write(table.parent / "5.png", np.pad(picture, ((0, 7), (0, 30), (0, 0)), mode="edge"))
    names = [f"{side}_{column}" for side in ("neutral", "expressive") for column in landmarks.COLUMNS]
    write(table, rows, ["note", *names])
    return table


def test_ids_are_stripped_and_spelled_in_one_way(table):
    rows = [list(row) for row in ROWS]
    rows[1][0], rows[2][0] = " anna", "anna  "
    write(table, rows)
    assert manifest.load(table).subjects == ("bert", "anna", "bert")
    rows[2][0] = "Anna"
    write(table, rows)
    with pytest.raises(InputError, match="subjects 'anna' and 'Anna' differ only in capitals"):
        manifest.load(table)


def test_a_picture_is_not_paired_with_itself(table):
    write(table, [*ROWS, ("carl", "5.png", "deep/../5.png", "happy")])
    with pytest.raises(InputError, match=r"line 6 has 5.png as both its neutral and its expressive picture"):
        manifest.load(table)


def test_loads_the_rows_of_the_expression(table):
    loaded = manifest.load(table, channels=1)
    assert loaded.subjects == ("bert", "anna", "bert")
    assert loaded.neutral.shape == (3, 64, 64, 1)
    assert (drawn.numbers(loaded.neutral), drawn.numbers(loaded.expressive)) == (NEUTRAL, EXPRESSIVE)
    back = manifest.load(table, channels=1, source="happy", target="neutral")
    np.testing.assert_array_equal(back.neutral, loaded.expressive)
    np.testing.assert_array_equal(back.expressive, loaded.neutral)
    compound = manifest.load(table, channels=1, target="happily surprised")
    assert compound.subjects == ("anna",)
    assert drawn.numbers(compound.expressive) == [3]
    table.rename(table.with_name("manifest.csv"))
    np.testing.assert_array_equal(manifest.load(table.parent, channels=1).neutral, loaded.neutral)


def test_landmarks_align(landmarks_table):
    loaded = manifest.load(landmarks_table, channels=1)
    assert (drawn.numbers(loaded.neutral), drawn.numbers(loaded.expressive)) == (NEUTRAL, EXPRESSIVE)
    for neutral, expressive in zip(*loaded[:2], strict=True):
        drawn.check_aligned(neutral)
        drawn.check_aligned(expressive, mouth=0.9)
    back = manifest.stream(landmarks_table, channels=1, source="happy", target="neutral")
    for expressive, neutral in map(back.read, range(3)):
        drawn.check_aligned(expressive)
        drawn.check_aligned(neutral, mouth=1 / 0.9)


@pytest.mark.parametrize("which", ["table", "landmarks_table"])
def test_the_cache_key_changes_with_the_table(request, which):
    table = request.getfixturevalue(which)
    before = manifest.stream(table, image_size=16).key
    edit(table, "bert", "cleo")
    renamed = manifest.stream(table, image_size=16).key
    assert renamed != before
    drawn.draw(table.parent / "deep/4.png", 9)
    assert manifest.stream(table, image_size=16).key != renamed


def edit(path, old, new):
    text = path.read_text(encoding="utf-8-sig")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8-sig")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("subject,", "who,", r"cfee.csv: line 2 has nothing in the column subject; a row needs"),
        ("anna,2.png,deep/4.png", "anna,2.png,", r"cfee.csv: line 4 has nothing in the column expressive"),
        ("deep/4.png,happy", "deep/4.png", r"cfee.csv: line 4 has nothing in the column expression"),
        (",happy\n", ",glad\n", r"cfee.csv has no row of the expression 'happy'; it has glad, happily surpr"),
        ("deep/4.png", "deep/8.png", r"cannot read .*deep/8.png: No such file"),
    ],
)  # fmt: skip
def test_clear_errors(table, old, new, words):
    edit(table, old, new)
    with pytest.raises(InputError, match=words):
        manifest.stream(table, image_size=16)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("neutral_mouth_left_y", "x", r"cfee.csv: the row of 0.png has no number in .* neutral_mouth_left_y"),
        ("note 2,45.0", "note 2,", r"cfee.csv: the row of 2.png has no number in .* neutral_left_eye_x"),
        ("note 0,45.0", "note 0,-1", r"0.png: a landmark .*cfee.csv lies outside .* 160 x 160"),
        ("61.0,100.0,79.0,100.0", "61.0,60.0,79.0,60.0", r"0.png: .* wrong: the mouth is not well below"),
    ],
)  # fmt: skip
def test_clear_errors_about_landmarks(landmarks_table, old, new, words):
    edit(landmarks_table, old, new)
    with pytest.raises(InputError, match=words):
        manifest.stream(landmarks_table, image_size=16).read(0)


def test_clear_errors_about_pictures_and_options(table):
    with pytest.raises(
        InputError, match=r"manifest: source or target must be 'neutral', not 'sad' and 'happy'"
    ):
        manifest.load(table, source="sad")
    with pytest.raises(InputError, match=r"there is no table .*manifest.csv; data_dir must be"):
        manifest.load(table.parent)
    images.write(table.parent / "deep/4.png", np.zeros((9, 8, 3)))
    with pytest.raises(InputError, match=r"deep/4.png is 8 x 9 pixels, but .*0.png is 160 x 160"):
        manifest.load(table)
    write(table, ())
    with pytest.raises(InputError, match=r"cfee.csv has no row of the expression 'happy'; it has no rows"):
        manifest.load(table)
    table.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"cannot read .*cfee.csv"):
        manifest.load(table)
