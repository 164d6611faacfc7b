"""Portraits, drawings and paintings."""

from pathlib import Path

import numpy as np
import pytest

from experiments.pictures import evaluation_sets, out_of_distribution
from mlr_jax import images
from mlr_jax.alignment import FaceTemplate
from mlr_jax.checks import InputError
from mlr_jax.datasets.pairs import Pairs


def portrait_with_dots() -> out_of_distribution.Portrait:
    """Grey, with bright dots at the eyes and the mouth of a tilted head."""
    points = ((60, 50), (120, 60), (80, 120))
    y, x = np.mgrid[:180, :200]
    picture = np.full((180, 200, 3), 0.2, np.float32)
    for px, py in points:
        picture += 0.8 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / 30)[..., None]
    return out_of_distribution.Portrait(np.clip(picture, 0, 1).astype(np.float32), *points)


def test_aligned_eyes_lie_on_the_template():
    crop = out_of_distribution.align(portrait_with_dots(), 64, 1)
    assert crop.shape == (64, 64, 1)
    template = FaceTemplate()
    for side in (-1, 1):
        x = (0.5 + side * template.eye_distance / 2) * 64 - 0.5
        y = template.eye_height * 64 - 0.5
        window = crop[round(y) - 6 : round(y) + 7, round(x) - 6 : round(x) + 7, 0]
        place = np.unravel_index(np.argmax(window), window.shape)
        assert np.hypot(place[0] + round(y) - 6 - y, place[1] + round(x) - 6 - x) < 1.5


@pytest.mark.parametrize(
    "portrait", [out_of_distribution.astronaut(), out_of_distribution.cat()], ids=["astronaut", "cat"]
)
def test_stated_eyes_are_darker_than_their_surroundings(portrait):
    """The stated eyes are pupils, which are dark."""
    for x, y in (portrait.left_eye, portrait.right_eye):
        grey = portrait.picture.mean(axis=-1)
        near = grey[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
        far = grey[round(y) - 25 : round(y) + 26, round(x) - 25 : round(x) + 26]
        assert near.mean() < 0.7 * far.mean()


def test_a_sketch_is_white_except_for_lines(rng):
    faces = np.full((2, 40, 40, 3), 0.6, np.float32)
    faces[:, 20, :] = 0.2
    sketch = out_of_distribution.pencil_sketch(faces)
    assert sketch.shape == faces.shape
    np.testing.assert_allclose(sketch[:, :5], 1, atol=1e-3)
    assert sketch[:, 20].max() < 0.6
    # Brightness does not matter.
    np.testing.assert_allclose(out_of_distribution.pencil_sketch(faces * 0.5), sketch, atol=1e-4)


def test_a_painting_has_the_colours_of_the_most_frequent_shade():
    faces = np.zeros((1, 30, 30, 3), np.float32)
    faces[:, :, :15] = (0.9, 0.7, 0.5)
    faces[:, 10, 5] = (0.0, 0.0, 0.1)  # A freckle.
    painted = out_of_distribution.oil_painting(faces)
    np.testing.assert_allclose(painted[0, 10, 5], (0.9, 0.7, 0.5), atol=1e-5)
    np.testing.assert_allclose(painted[0, :, -3:], 0, atol=1e-6)
    np.testing.assert_allclose(out_of_distribution.oil_painting(np.full_like(faces, 0.3)), 0.3, atol=1e-6)


def test_composites_have_the_landmarks_of_their_files(tmp_path):
    assert out_of_distribution.composites(tmp_path) == {}
    images.write(tmp_path / "f.jpg", np.full((40, 50, 3), 0.5))
    lines = ["189", *(f"{n}.5 {2 * n}.25" for n in range(189))]
    (tmp_path / "f.tem").write_text("\n".join(lines))
    (found,) = out_of_distribution.composites(tmp_path).values()
    assert found.left_eye == (0.5, 0.25)
    assert found.right_eye == (1.5, 2.25)
    assert found.mouth == (90.5, 180.25)
    (tmp_path / "f.tem").write_text("189\n1 2")
    with pytest.raises(InputError, match=r"f\.tem, the points of f\.jpg"):
        out_of_distribution.composites(tmp_path)


def test_real_composites_are_upright(london_dir):
    found = out_of_distribution.composites(Path(london_dir).parent / "composites")
    if not found:
        pytest.skip("there are no composite faces beside the London set")
    assert len(found) == 10
    for portrait in found.values():
        assert portrait.left_eye[0] + 100 < portrait.right_eye[0]
        assert portrait.mouth[1] > portrait.left_eye[1] + 100


def test_pictures_beside_square_ones_must_be_square():
    evaluation_sets.check_square(Pairs(np.zeros((1, 20, 20, 1)), np.zeros((1, 20, 20, 1)), ("a",)))
    with pytest.raises(InputError, match="not 24 x 20 pixels"):
        evaluation_sets.check_square(Pairs(np.zeros((1, 20, 24, 1)), np.zeros((1, 20, 24, 1)), ("a",)))
