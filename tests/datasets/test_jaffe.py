import csv

import numpy as np
import pytest

from mlr_jax import images
from mlr_jax.checks import InputError
from mlr_jax.datasets import jaffe, landmarks
from tests.datasets import drawn

# Not in the order of their running numbers; KL has no sad picture, and KM no neutral one.
FILES = (
    "KA.HA10.28.tiff",
    "KA.HA2.30.tiff",
    "KA.NE1.26.tiff",
    "KA.NE2.31.tiff",
    "KA.NE3.29.tiff",
    "KA.SA1.33.tiff",
    "KL.HA1.155.tiff",
    "KL.NE2.1.tiff",
    "KM.HA1.4.tiff",
    "KM.SA2.9.tiff",
)
NUMBERS = {file: number for number, file in enumerate(FILES)}
# In KA's neutral pictures the mouth is 0.9, 1.0 and 1.1 distances below the eyes.
MOUTHS = {"KA.NE1.26.tiff": 0.9, "KA.NE3.29.tiff": 1.1, "KL.NE2.1.tiff": 1.2, "KL.HA1.155.tiff": 1.08}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "jaffe"
    for n, file in enumerate(FILES):
        points = drawn.landmarks(50 + 2 * n, tilt=n, mouth=MOUTHS.get(file, 1))
        drawn.draw(folder / file, NUMBERS[file], points)
    (folder / "README").write_text("about the set")
    (folder / "README.KA.HA3.1").write_text("no picture")
    return folder


@pytest.fixture
def table(root):
    path = root / "landmarks5.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *landmarks.COLUMNS])
        for n, name in enumerate(FILES):
            points = drawn.landmarks(50 + 2 * n, tilt=n, mouth=MOUTHS.get(name, 1))
            writer.writerow([name, *points.ravel()])
    return path


def pairs_of(loaded) -> list[tuple[str, str, str]]:
    neutral, expressive = drawn.numbers(loaded.neutral), drawn.numbers(loaded.expressive)
    return [
        (subject, FILES[first][3:6], FILES[second][3:6])
        for subject, first, second in zip(loaded.subjects, neutral, expressive, strict=True)
    ]


def test_pictures_are_paired_in_the_order_of_their_numbers(root):
    loaded = jaffe.load(root, channels=1)
    assert loaded.neutral.shape == (3, 64, 64, 1)
    assert loaded.neutral.dtype == np.float32
    assert pairs_of(loaded) == [("KA", "NE1", "HA2"), ("KA", "NE2", "HA1"), ("KL", "NE2", "HA1")]
    back = jaffe.load(root, channels=1, source="happy", target="neutral")
    np.testing.assert_array_equal(back.neutral, loaded.expressive)
    np.testing.assert_array_equal(back.expressive, loaded.neutral)
    other = jaffe.load(root, channels=1, source="happy", target="sad")
    assert pairs_of(other) == [("KA", "HA2", "SA1"), ("KM", "HA1", "SA2")]


def test_reads_png_tif_and_jpg(root):
    loaded = jaffe.load(root, image_size=32)
    for suffix, file in (("png", FILES[0]), ("TIF", FILES[2]), ("jpg", FILES[4])):
        images.write((root / file).with_suffix(f".{suffix}"), images.read(root / file))
        (root / file).unlink()
    again = jaffe.load(root, image_size=32)
    assert again.subjects == loaded.subjects
    np.testing.assert_allclose(again.neutral, loaded.neutral, atol=0.02)
    np.testing.assert_allclose(again.expressive, loaded.expressive, atol=0.02)


def test_landmarks_align(root, table):
    loaded = jaffe.load(root, channels=1)
    assert pairs_of(loaded) == [("KA", "NE1", "HA2"), ("KA", "NE2", "HA1"), ("KL", "NE2", "HA1")]
    for picture in loaded.neutral:
        drawn.check_aligned(picture)
    # The distance from the eyes to the mouth, relative to that of the source.
    for picture, mouth in zip(loaded.expressive, (1 / 0.9, 1, 0.9), strict=True):
        drawn.check_aligned(picture, mouth=mouth)
    for n, (neutral, _) in enumerate(map(jaffe.stream(root, channels=1).read, (0, 1, 2))):
        np.testing.assert_array_equal(neutral, loaded.neutral[n])


def test_the_cache_key_changes_with_pictures_and_landmarks(root, table, tmp_path):
    options = {"image_size": 16, "channels": 1}
    keys = [jaffe.stream(root, **options).key]
    table.write_text(table.read_text().replace("45.0", "46.0"))
    keys.append(jaffe.stream(root, **options).key)
    table.unlink()
    keys.append(jaffe.stream(root, **options).key)
    drawn.draw(root / "KA.HA2.30.tiff", 25, drawn.landmarks(50))
    keys.append(jaffe.stream(root, **options).key)
    assert len({str(key) for key in keys}) == 4
    first = jaffe.load(root, cache_dir=tmp_path / "cache", **options)
    again = jaffe.load(root, cache_dir=tmp_path / "cache", progress=lambda _: pytest.fail("read"), **options)
    np.testing.assert_array_equal(again.neutral, first.neutral)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda root: drawn.draw(root / "KA.NE1.26.png", 0),
            "KA.NE1.26.png and .*KA.NE1.26.tiff are of the same shot",
        ),
        (lambda root: (root / "KA.NE1.26.tiff").write_text("x"), "cannot read .*KA.NE1.26.tiff as a picture"),
        (lambda root: images.write(root / "KA.HA2.30.tiff", np.zeros((9, 8, 3))), "KA.HA2.30.tiff is 8 x 9"),
        (lambda root: [each.unlink() for each in root.glob("*.NE*")], "no subject has both a neutral and"),
        (lambda root: [each.unlink() for each in root.glob("*.tiff")], "no pictures with names like"),
    ],
)  # fmt: skip
def test_clear_errors(root, break_it, words):
    break_it(root)
    with pytest.raises(InputError, match=words):
        jaffe.load(root, image_size=16)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("KA.NE2.31", "KA.NE2.30", r"landmarks5.csv has no row for KA.NE2.31.tiff"),
        ("KA.HA2.30.tiff,45.0", "KA.HA2.30.tiff,", "KA.HA2.30.tiff .line 3. has no number in .* left_eye_x"),
        ("KA.HA2.30.tiff,45.0", "KA.HA2.30.tiff,999", "KA.HA2.30.tiff: a landmark .* outside the picture"),
        ("KA.NE1.26.tiff,45.0", "KA.NE1.26.tiff,99", r"KA.NE1.26.tiff: a landmark .*landmarks5.csv is wrong"),
        ("KA.HA2.30.tiff,", f"{'x' * 200_000},", "cannot read .*landmarks5.csv: field larger than"),
    ],
)  # fmt: skip
def test_clear_errors_about_landmarks(root, table, old, new, words):
    edit(table, old, new)
    with pytest.raises(InputError, match=words):
        jaffe.stream(root, image_size=16).read(0)


def test_clear_errors_about_options(root):
    with pytest.raises(InputError, match=r"there is no folder .*nowhere; data_dir must be"):
        jaffe.load(root / "nowhere")
    with pytest.raises(InputError, match=r"has no expression 'bored' for source; it has neutral, happy, sad"):
        jaffe.load(root, source="bored")
    with pytest.raises(InputError, match="both 'sad'; they must differ"):
        jaffe.load(root, source="sad", target="sad")
    with pytest.raises(InputError, match=r"jaffe: channels must be 1 .grey. or 3 .colour., not 2"):
        jaffe.load(root, channels=2)
