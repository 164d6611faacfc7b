"""Pictures from outside every data set: an astronaut, a cat, averaged faces, drawings, paintings."""

import importlib.util
import math
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from mlr_jax import alignment, checks, images

# Of the points of a template file: the pupils and the corners of the mouth.
_TEMPLATE_POINTS = (0, 1, 87, 93)

_NUM_OIL_COLOURS = 8


class Portrait(NamedTuple):
    """A face somewhere in a picture; points are (x, y) in its pixels.

    Attributes:
      picture: `(height, width, 3)` float32 in [0, 1].
      left_eye: the middle of the eye on the left in the picture.
      right_eye: of the other one.
      mouth: the middle between the corners of the mouth.
    """

    picture: np.ndarray
    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    mouth: tuple[float, float]


def astronaut() -> Portrait:
    """The portrait of Eileen Collins in scikit-image; her smile shows teeth."""
    # Here and below, points are measured by hand.
    return Portrait(_carried("astronaut"), (203.5, 101.0), (246.2, 103.0), (223.5, 140.0))


def cat() -> Portrait:
    """The cat in scikit-image, seen half from the side."""
    return Portrait(_carried("chelsea"), (173.7, 110.0), (315.0, 131.7), (256.7, 270.0))


def composites(folder: Path) -> dict[str, Portrait]:
    """The young adult composite faces (DeBruine 2016, doi:10.6084/m9.figshare.4055130, CC BY 4.0).

    Args:
      folder: holds `NAME.jpg`, each with the template `NAME.tem`: a number of points, then a line `x y` for
        each.

    Returns:
      Name -> portrait; none if there is no such folder.

    Raises:
      InputError: a picture or a template cannot be read.
    """
    return {path.stem: _composite(path) for path in sorted(folder.glob("*.jpg"))}


def align(portrait: Portrait, image_size: int, channels: int) -> np.ndarray:
    """The face, aligned as in the data sets: `(image_size, image_size, channels)`."""
    picture = images.to_channels(portrait.picture, channels)
    eyes = jnp.array(portrait.left_eye), jnp.array(portrait.right_eye)
    ratio = alignment.mouth_ratio(*eyes, jnp.array(portrait.mouth))
    affine = alignment.crop_from_eyes(*eyes, ratio, image_size)
    oversampling = math.ceil(float(alignment.pixels_per_pixel(affine)))
    crop = alignment.crop(jnp.asarray(picture), affine, image_size, oversampling=oversampling)
    return np.clip(np.asarray(crop), 0, 1)


def pencil_sketch(pictures: np.ndarray) -> np.ndarray:
    """Faces as drawn with a pencil: each pixel's grey over that of its surroundings, white at most.

    Args:
      pictures: `(num, height, width, channels)` float32 in [0, 1].

    Returns:
      The same shape, all channels alike.
    """
    from scipy import ndimage  # Slow to import.

    grey = pictures.mean(axis=-1)
    sigma = 0.04 * pictures.shape[1]
    around = ndimage.gaussian_filter(grey, (0, sigma, sigma))
    sketch = np.minimum(grey / np.maximum(around, 1e-3), 1)
    return np.repeat(sketch[..., None], pictures.shape[-1], axis=-1)


def oil_painting(pictures: np.ndarray) -> np.ndarray:
    """Faces as painted with a brush: each pixel has the mean colour of the commonest shade around it.

    Args:
      pictures: `(num, height, width, channels)` float32 in [0, 1].

    Returns:
      The same shape.
    """
    from scipy import ndimage  # Slow to import.

    side = 2 * max(1, round(0.03 * pictures.shape[1])) + 1
    shades = np.minimum((pictures.mean(axis=-1) * _NUM_OIL_COLOURS).astype(int), _NUM_OIL_COLOURS - 1)
    most = np.zeros(shades.shape, np.float32)
    painted = np.zeros_like(pictures)
    for shade in range(_NUM_OIL_COLOURS):
        here = (shades == shade).astype(np.float32)
        share = ndimage.uniform_filter(here, (0, side, side))
        colour = ndimage.uniform_filter(pictures * here[..., None], (0, side, side, 0))
        wins = share > most + 1e-6
        painted[wins] = colour[wins] / share[wins][:, None]
        most = np.maximum(most, share)
    return np.clip(painted, 0, 1)


def _carried(name: str) -> np.ndarray:
    """A picture of scikit-image, without its slow import if possible."""
    spec = importlib.util.find_spec("skimage")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "data", f"{name}.png")
        if path.is_file():
            return images.read(path)
    from skimage import data

    return getattr(data, name)().astype(np.float32) / 255


def _composite(path: Path) -> Portrait:
    template = path.with_suffix(".tem")
    try:
        lines = template.read_text().splitlines()
        points = np.array([[float(word) for word in lines[1 + point].split()] for point in _TEMPLATE_POINTS])
        left_eye, right_eye, left_corner, right_corner = points.reshape(4, 2)
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise checks.InputError(f"cannot read {template}, the points of {path.name}: {reason}") from error
    mouth = (left_corner + right_corner) / 2
    return Portrait(images.read(path), tuple(left_eye), tuple(right_eye), tuple(mouth))
