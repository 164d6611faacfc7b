import csv

import numpy as np
import pytest

from mlr_jax import alignment, images
from mlr_jax.checks import InputError
from mlr_jax.datasets import landmarks, london, streams, synthetic

PEOPLE = ("001", "042", "107")
EYE_DISTANCES = {"001": 60, "042": 75, "107": 90}


def _draw(path, left_eye, right_eye, mouth) -> None:
    """A grey picture with a bright dot on each landmark."""
    y, x = np.mgrid[:300, :300]
    picture = np.full((300, 300), 0.2)
    for point in (left_eye, right_eye, mouth):
        picture += 0.8 * np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / 60)
    images.write(path, np.repeat(picture[..., None], 3, axis=-1))


@pytest.fixture
def root(tmp_path):
    """The published layout with dots for faces, of different sizes, tilts and proportions."""
    rows = []
    for folder, code in (("neutral_front", "03"), ("smiling_front", "08")):
        (tmp_path / folder).mkdir()
        for n, person in enumerate(PEOPLE):
            distance, tilt = EYE_DISTANCES[person], 5 * n
            left = np.array([100.0 + 3 * n, 110.0])
            right = left + np.array([distance, tilt])
            down = np.array([-tilt, distance]) * (1.0 + 0.1 * n)
            # The smile lifts the mouth.
            mouth = (left + right) / 2 + down * (0.9 if code == "08" else 1.0)
            file = f"{folder}/{person}_{code}.jpg"
            _draw(tmp_path / file, left, right, mouth)
            sideways = np.array([10, 0])
            corners = mouth - sideways, mouth + sideways
            points = (left, right, (left + right + mouth) / 3, *corners)
            rows.append([file, *np.concatenate(points)])
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    with (tmp_path / "landmarks5.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(f"{name}_{axis}" for name in names for axis in "xy")])
        writer.writerows(rows)
    return tmp_path


def test_points_of_a_mesh_are_aligned_with_the_faces(root):
    """The mouth's middle, given as a point of every picture, moves to the mouth of the aligned face."""
    table = landmarks.read_landmarks(root / "landmarks5.csv")
    points = np.array([[corners[2:].mean(axis=0), corners[0]] for corners in table.values()])
    np.savez(root / "points.npz", files=list(table), points=points)
    opened = streams.take(london.stream(root, image_size=100, channels=1), [2, 0])
    found = landmarks.corresponding_points(opened, root / "points.npz")
    assert found.shape == (2, 2, 2, 2)
    template = alignment.FaceTemplate()
    for pair in range(2):
        for side, rise in ((0, 1), (1, 0.9)):
            mouth, eye = found[pair, side]
            height = template.eye_height + rise * (template.mouth_height - template.eye_height)
            np.testing.assert_allclose(mouth, [49.5, 100 * height - 0.5], atol=0.01)
            expected = [50 - 50 * template.eye_distance - 0.5, 100 * template.eye_height - 0.5]
            np.testing.assert_allclose(eye, expected, atol=0.01)


def test_clear_errors_about_points(root):
    opened = london.stream(root)
    file = root / "points.npz"
    with pytest.raises(InputError, match=r"cannot read .*points.npz as arrays `files` and `points`"):
        landmarks.corresponding_points(opened, file)
    file.write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot read .*points.npz as arrays `files` and `points`"):
        landmarks.corresponding_points(opened, file)
    np.savez(file, files=["a", "b"], points=np.zeros((3, 5, 2)))
    with pytest.raises(InputError, match=r"files is \(2,\) and points is \(3, 5, 2\)"):
        landmarks.corresponding_points(opened, file)
    np.savez(file, files=["a", "b"], points=np.zeros((2, 5, 2)))
    with pytest.raises(InputError, match=r"has no points of .*neutral_front/001_03.jpg"):
        landmarks.corresponding_points(opened, file)
    every = [f"neutral_front/{person}_03.jpg" for person in PEOPLE]
    every += [f"smiling_front/{person}_08.jpg" for person in PEOPLE]
    np.savez(file, files=every, points=np.full((6, 5, 2), np.nan))
    with pytest.raises(InputError, match=r"points of .*001_03\.jpg holds 10 values that are NaN"):
        landmarks.corresponding_points(opened, file)
    with pytest.raises(InputError, match="these pictures were not cut out of files"):
        landmarks.corresponding_points(synthetic.stream(), file)


def test_landmarks_coincide_across_people(root):
    there = london.load(root, image_size=100, channels=1)
    assert there.subjects == PEOPLE
    assert there.neutral.shape == (3, 100, 100, 1)
    assert there.neutral.dtype == np.float32
    back = london.load(root, image_size=100, channels=1, source="smiling", target="neutral")
    for pictures, mouth in (
        (there.neutral, 1),
        (there.expressive, 0.9),
        (back.neutral, 1),  # Alignment of the smile alone gives the same.
        (back.expressive, 1 / 0.9),
    ):
        for picture in pictures[..., 0]:
            for x, y in ((0.305, 0.36), (0.695, 0.36), (0.5, 0.36 + mouth * 0.42)):
                column, row = round(x * 100 - 0.5), round(y * 100 - 0.5)
                patch = picture[row - 6 : row + 7, column - 6 : column + 7]
                peak = np.unravel_index(patch.argmax(), patch.shape)
                np.testing.assert_allclose(peak, (6, 6), atol=1.5)


def test_colour(root):
    colour, grey = (london.load(root, image_size=24, channels=channels) for channels in (3, 1))
    assert colour.neutral.shape == (3, 24, 24, 3)
    np.testing.assert_allclose(images.to_channels(colour.neutral, 1), grey.neutral, atol=1e-5)


def test_keeps_decoded_pictures(root, tmp_path):
    first = london.load(root, image_size=16, cache_dir=tmp_path / "cache")
    seen = []

    def progress(people):
        seen.extend(people)
        return people

    again = london.load(root, image_size=16, cache_dir=tmp_path / "cache", progress=progress)
    np.testing.assert_array_equal(first.expressive, again.expressive)
    assert not seen
    landmarks = root / "landmarks5.csv"
    landmarks.write_text(landmarks.read_text().replace("100.0", "108.0"))
    moved = london.load(root, image_size=16, cache_dir=tmp_path / "cache", progress=progress)
    assert tuple(seen) == PEOPLE
    assert np.abs(moved.neutral[0] - first.neutral[0]).max() > 0.01
    template = alignment.FaceTemplate(eye_distance=0.5)
    for option in ({"channels": 1}, {"image_size": 24}, {"template": template}):
        pairs = london.load(root, **{"image_size": 16, "cache_dir": tmp_path / "cache"} | option)
        np.testing.assert_array_equal(pairs.neutral, london.load(root, **{"image_size": 16} | option).neutral)


def _edit(path, old, new):
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda root: (root / "smiling_front/042_08.jpg").unlink(),
            "042_03.jpg has no partner .*smiling_front/042_08.jpg",
        ),
        (
            lambda root: (root / "neutral_front/042_03.jpg").unlink(),
            "042_08.jpg has no partner .*neutral_front/042_03.jpg",
        ),
        (lambda root: (root / "smiling_front").rename(root / "x"), "no folder .*smiling_front; data_dir"),
        (lambda root: (root / "landmarks5.csv").unlink(), "there is no .*landmarks5.csv"),
        (
            lambda root: _edit(root / "landmarks5.csv", "smiling_front/107", "smiling_front/108"),
            "has no row for smiling_front/107_08.jpg",
        ),
        (
            lambda root: _edit(root / "landmarks5.csv", "107_08.jpg,", "107_08.jpg,x"),
            "107_08.jpg .line 7. has no number in the column left_eye_x, but 'x106.0'",
        ),
        (
            lambda root: _edit(root / "landmarks5.csv", "107_08.jpg,1", "107_08.jpg,91"),
            r"107_08.jpg: a landmark of this picture .* lies outside the picture of 300 x 300",
        ),
        (
            lambda root: _edit(root / "landmarks5.csv", "107_08.jpg,1", "107_08.jpg,2"),
            r"107_08.jpg: .* the right eye is not 8 pixels to the right of the left one",
        ),
        (
            lambda root: _edit(root / "landmarks5.csv", "mouth_left_y", "unused"),
            "landmarks5.csv has no column mouth_left_y; its first line is file, .*",
        ),
        (
            lambda root: (root / "landmarks5.csv").write_bytes(b"file\xff"),
            "cannot read .*landmarks5.csv",
        ),
        (
            lambda root: (root / "neutral_front/042_03.jpg").write_text("rubbish"),
            "cannot read .*042_03.jpg as a picture",
        ),
        (
            lambda root: [path.unlink() for path in root.glob("*_front/*.jpg")],
            "there are no pictures NNN_03.jpg",
        ),
    ],
)  # fmt: skip
def test_clear_errors(root, break_it, words):
    break_it(root)
    with pytest.raises(InputError, match=words):
        london.load(root, image_size=16)


def test_reads_a_table_saved_by_a_spreadsheet(root):
    expected = london.load(root, image_size=16)
    path = root / "landmarks5.csv"
    path.write_text(path.read_text().replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    np.testing.assert_array_equal(london.load(root, image_size=16).neutral, expected.neutral)


def test_clear_errors_about_options(root):
    with pytest.raises(InputError, match="image_size must be 1 or more, not 0"):
        london.load(root, image_size=0)
    with pytest.raises(InputError, match="has no expression 'sad' for target; it has neutral, happy"):
        london.load(root, target="sad")
    with pytest.raises(InputError, match="source and target are both 'happy'; they must differ"):
        london.load(root, source="happy", target="smiling")


def test_real_faces_are_aligned(london_dir):
    pairs = london.load(london_dir, channels=1)
    assert len(pairs.subjects) >= 82
    assert pairs.neutral.shape[1:] == (64, 64, 1)
    # Aligned faces have dark irises on the template's eyes, and lips darker than the chin.
    mean = pairs.neutral.mean(axis=0)[..., 0]
    eyes = mean[21:25, 17:22].mean(), mean[21:25, 42:47].mean()
    cheeks = mean[36:40, 14:20].mean(), mean[36:40, 44:50].mean()
    assert max(eyes) < 0.75 * min(cheeks)
    assert mean[48:51, 28:36].mean() < 0.9 * mean[56:60, 28:36].mean()
    # About as large as the differences between people; a misaligned set is far off.
    assert 4e-3 < ((pairs.neutral - pairs.expressive) ** 2).mean() < 7.5e-3


def test_the_stream_has_the_pairs_of_load(root):
    whole = london.load(root, image_size=24, channels=1)
    source = london.stream(root, image_size=24, channels=1)
    assert (source.subjects, source.shape) == (whole.subjects, whole.neutral.shape[1:])
    for n in (2, 0):
        np.testing.assert_array_equal(source.read(n)[0], whole.neutral[n])
        np.testing.assert_array_equal(source.read(n)[1], whole.expressive[n])
    (root / "smiling_front/042_08.jpg").write_text("rubbish")
    with pytest.raises(InputError, match=r"cannot read .*042_08.jpg as a picture"):
        london.stream(root, image_size=24).read(1)
    with pytest.raises(InputError, match=r"channels must be 1 .grey. or 3 .colour., not 2"):
        london.stream(root, channels=2)
