import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlr_jax.checks import InputError
from mlr_jax.datasets import ck_plus
from tests.datasets import drawn

ROOT = Path(__file__).parents[2]
HAPPY, SAD, SURPRISED = 5, 6, 7
SEQUENCES = {
    "S005/001": HAPPY,
    "S005/002": None,
    "S005/003": SURPRISED,
    "S010/001": HAPPY,
    "S010/004": HAPPY,
    "S010/006": SURPRISED,
    "S011/002": SURPRISED,
    "S099/001": 0,
}
FRAMES = (1, 2, 11)
NAMES = [f"{sequence}/{frame}" for sequence in SEQUENCES for frame in FRAMES]


def shape(sequence: str, frame: int) -> np.ndarray:
    """Landmarks: sequences differ in size, tilt and proportions; at the peak the mouth is higher."""
    n = list(SEQUENCES).index(sequence)
    return drawn.landmarks(50 + 3 * n, tilt=2 * n, mouth=(1 + 0.03 * n) * (0.9 if frame == 11 else 1))


def write_landmarks(path, points) -> None:
    """Writes 68 landmarks: those of an eye have their mean in its middle; the others lie anywhere."""
    every = np.random.default_rng(0).uniform(0, drawn.SIDE, (68, 2))
    around = np.array([[-10, 15], [2, 0], [2, 0], [-2, 0], [-2, 0], [10, -15]])
    every[36:42], every[42:48] = points[0] + around, points[1] + around
    every[48], every[54] = points[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"   {x:.7e}   {y:.7e}\n" for x, y in every))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "ck_plus"
    for sequence, label in SEQUENCES.items():
        start = sequence.replace("/", "_")
        for frame in FRAMES:
            name = f"{start}_{frame:08d}"
            points = shape(sequence, frame)
            picture = folder / "cohn-kanade-images" / sequence / f"{name}.png"
            drawn.draw(picture, NAMES.index(f"{sequence}/{frame}"), points)
            write_landmarks(folder / "Landmarks" / sequence / f"{name}_landmarks.txt", points)
        emotion = folder / "Emotion" / sequence / f"{start}_{FRAMES[-1]:08d}_emotion.txt"
        emotion.parent.mkdir(parents=True)
        if label is not None:
            emotion.write_text(f"   {label:.7e}\n")
    # Files that macOS leaves behind.
    (folder / "Emotion" / ".DS_Store").write_text("x")
    (folder / "Emotion/S005/001/._S005_001_00000011_emotion.txt").write_text("x")
    (folder / "cohn-kanade-images/S005/001/.DS_Store").write_text("x")
    return folder


def pairs_of(loaded) -> list[tuple[str, str, str]]:
    neutral, expressive = drawn.numbers(loaded.neutral), drawn.numbers(loaded.expressive)
    return [
        (subject, NAMES[first], NAMES[second])
        for subject, first, second in zip(loaded.subjects, neutral, expressive, strict=True)
    ]


def test_first_frames_are_paired_with_last_frames(root):
    loaded = ck_plus.load(root, channels=1)
    assert loaded.neutral.shape == (3, 64, 64, 1)
    assert loaded.neutral.dtype == np.float32
    assert pairs_of(loaded) == [
        ("S005", "S005/001/1", "S005/001/11"),
        ("S010", "S010/001/1", "S010/001/11"),
        ("S010", "S010/004/1", "S010/004/11"),
    ]
    for neutral, expressive in zip(*loaded[:2], strict=True):
        drawn.check_aligned(neutral)
        drawn.check_aligned(expressive, mouth=0.9)
    back = ck_plus.load(root, channels=1, source="happy", target="neutral")
    for expressive, neutral in zip(*back[:2], strict=True):
        drawn.check_aligned(expressive)
        drawn.check_aligned(neutral, mouth=1 / 0.9)
    source = ck_plus.stream(root, channels=1)
    assert (source.subjects, source.shape) == (loaded.subjects, (64, 64, 1))
    np.testing.assert_array_equal(source.read(2)[1], loaded.expressive[2])


def test_any_expression_may_be_the_source(root):
    loaded = ck_plus.load(root, channels=1, source="surprised", target="happy")
    assert pairs_of(loaded) == [
        ("S005", "S005/003/11", "S005/001/11"),
        ("S010", "S010/006/11", "S010/001/11"),
    ]
    for picture in loaded.neutral:
        drawn.check_aligned(picture)
    with pytest.raises(InputError, match="no subject has both a happy and a contemptuous picture"):
        ck_plus.load(root, source="happy", target="contemptuous")
    with pytest.raises(
        InputError, match="has no expression 'contempt' for target; it has neutral, angry, con"
    ):
        ck_plus.load(root, target="contempt")


@pytest.mark.parametrize(
    ("number", "name"),
    list(enumerate(("angry", "contemptuous", "disgusted", "afraid", "happy", "sad", "surprised"), start=1)),
)
def test_labels_name_expressions(root, number, name):
    (root / "Emotion/S011/002/S011_002_00000011_emotion.txt").write_text(f"   {number}.0000000e+00\n")
    assert "S011" in ck_plus.stream(root, target=name).subjects


def test_the_cache_key_changes_with_pictures_labels_and_landmarks(root):
    keys = [ck_plus.stream(root).key]
    emotion = root / "Emotion/S010/004/S010_004_00000011_emotion.txt"
    emotion.write_text("6")
    keys.append(ck_plus.stream(root).key)
    write_landmarks(root / "Landmarks/S010/001/S010_001_00000001_landmarks.txt", 1.25 * shape("S010/001", 1))
    keys.append(ck_plus.stream(root).key)
    drawn.draw(root / "cohn-kanade-images/S010/001/S010_001_00000011.png", 25)
    keys.append(ck_plus.stream(root).key)
    assert len({str(key) for key in keys}) == 4


EMOTION = "Emotion/S010/001/S010_001_00000011_emotion.txt"
LANDMARKS = "Landmarks/S010/001/S010_001_00000011_landmarks.txt"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root: (root / "Landmarks").rename(root / "x"), "no folder .*Landmarks; data_dir must be the"),
        (lambda root: (root / EMOTION).write_text("happy\n"), "00000011_emotion.txt: .* 0 to 7, not 'happy'"),
        (lambda root: (root / EMOTION).write_text("8"), "00000011_emotion.txt: .* 0 to 7, not '8'"),
        (lambda root: (root / EMOTION).write_text("1.5"), "00000011_emotion.txt: .* 0 to 7, not '1.5'"),
        (lambda root: (root / EMOTION).write_bytes(b"\xff"), "cannot read .*001_00000011_emotion.txt"),
        (
            lambda root: (root / EMOTION).with_name("S010_001_00000002_emotion.txt").write_text("5"),
            "00000002_emotion.txt and .*00000011_emotion.txt are of the same sequence",
        ),
        (lambda root: (root / LANDMARKS).unlink(), "cannot read .*001_00000011_landmarks.txt: No such"),
        (
            lambda root: (root / LANDMARKS).write_text("1.0 2.0\n" * 67),
            "S010_001_00000011_landmarks.txt must have 68 lines",
        ),
        (
            lambda root: (root / LANDMARKS).write_text("1.0 nan\n" * 68),
            "S010_001_00000011_landmarks.txt must have 68 lines",
        ),
        (
            lambda root: (root / LANDMARKS).write_text("1.0 2.0\n" * 68),
            "S010_001_00000011.png: a landmark .*S010_001_00000011_landmarks.txt is wrong: the right eye",
        ),
        (
            lambda root: [path.unlink() for path in (root / "cohn-kanade-images/S010/001").glob("*1.png")],
            "cohn-kanade-images/S010/001 has 1 pictures",
        ),
        (
            lambda root: (root / "cohn-kanade-images/S010").rename(root / "cohn-kanade-images/S1"),
            "cohn-kanade-images/S010/001 has 0 pictures",
        ),
        (
            lambda root: (root / "cohn-kanade-images/S010/001/S010_001_00000011.png").write_text("x"),
            "cannot read .*S010_001_00000011.png as a picture",
        ),
    ],
)  # fmt: skip
def test_clear_errors(root, break_it, words):
    break_it(root)
    with pytest.raises(InputError, match=words):
        ck_plus.stream(root, image_size=16).read(1)


def test_runs_from_the_command_line(root, tmp_path):
    command = [sys.executable, "-m", "experiments.compare_baselines", "--dataset=ck_plus"]
    flags = ["--image_size=16", "--channels=1", "--select=fixed", "--methods=copy_input"]
    test_list = tmp_path / "test.txt"
    test_list.write_text("S010\n")
    output = tmp_path / "run"
    done = subprocess.run(
        [*command, *flags, f"--data_dir={root}", f"--test_list={test_list}", f"--output_dir={output}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    with (output / "errors.csv").open() as file:
        errors = [(row["subject"], float(row["mse"])) for row in csv.DictReader(file)]
    loaded = ck_plus.load(root, image_size=16, channels=1)
    expected = ((loaded.neutral - loaded.expressive) ** 2).mean(axis=(1, 2, 3))
    assert [subject for subject, _ in errors] == ["S010", "S010"], "people are tested, not pictures"
    np.testing.assert_allclose([error for _, error in errors], expected[1:], rtol=1e-4)
