"""The Face Research Lab London Set: people with a neutral and a smiling face, seen from the front.

DeBruine and Jones (2017), figshare, doi:10.6084/m9.figshare.5047666, CC BY 4.0. Expected in a folder:

    neutral_front/NNN_03.jpg   smiling_front/NNN_08.jpg   landmarks5.csv

where `landmarks5.csv` has a row for each picture: its `file` (such as neutral_front/001_03.jpg), and its
landmarks in the columns of `datasets.landmarks`.
"""

import os
import re
from pathlib import Path

from mlr_jax import alignment, checks
from mlr_jax.datasets import streams
from mlr_jax.datasets._aligned_crops import LandmarkedPicture, aligned
from mlr_jax.datasets._options import check_options
from mlr_jax.datasets.landmarks import read_landmarks
from mlr_jax.datasets.streams import PairStream

_FOLDERS = {
    "neutral": ("neutral_front", "03"),
    "happy": ("smiling_front", "08"),
}

# Raise it when the same files give other pictures, so that cached ones are not used again.
_VERSION = 2


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
) -> PairStream:
    """Opens the set, to be read person by person.

    Each picture is aligned by its own eyes, and stretched by the distance from eyes to mouth in the person's
    source picture.

    Args:
      data_dir: the folder of the set.
      image_size: side of the aligned face, in pixels.
      channels: 1 (grey) or 3.
      source: "neutral" or "happy" ("smiling" means the same), the expression to start from.
      target: the other one, the expression to reach.
      template: where eyes and mouth come to lie.

    Returns:
      One pair for each person, in the order of their numbers, which are the subjects.

    Raises:
      InputError: the folder has another layout, or a picture has no partner or no landmarks. Reading a
        picture that cannot be decoded, or whose landmarks are wrong, raises an InputError that names it.
    """
    source, target = ("happy" if name == "smiling" else name for name in (source, target))
    check_options(
        "london",
        image_size=image_size,
        channels=channels,
        source=source,
        target=target,
        expressions=_FOLDERS,
    )
    root = Path(data_dir)
    subjects = _subjects(root)
    table = root / "landmarks5.csv"
    landmarks = read_landmarks(table)

    def face(expression: str, subject: str) -> LandmarkedPicture:
        file = _file(expression, subject)
        if file not in landmarks:
            raise checks.InputError(f"{table} has no row for {file}")
        return LandmarkedPicture(str(root / file), landmarks[file], str(table))

    return aligned(
        [(subject, face(source, subject), face(target, subject)) for subject in subjects],
        loader=("london", _VERSION),
        image_size=image_size,
        channels=channels,
        template=template,
    )


load = streams.loader(stream, "the London set in {data_dir}")


def _file(expression: str, subject: str) -> str:
    folder, code = _FOLDERS[expression]
    return f"{folder}/{subject}_{code}.jpg"


def _subjects(root: Path) -> list[str]:
    """The numbers of all people, after checking that each one has both pictures."""
    numbers: dict[str, set[str]] = {}
    for expression in ("neutral", "happy"):
        folder, code = _FOLDERS[expression]
        if not (root / folder).is_dir():
            raise checks.InputError(
                f"there is no folder {root / folder}; data_dir must be the folder of the London set, "
                "which holds neutral_front, smiling_front and landmarks5.csv"
            )
        matches = (re.fullmatch(rf"(\w+)_{code}\.jpg", path.name) for path in (root / folder).iterdir())
        numbers[expression] = {match[1] for match in matches if match}
    for own, other in (("neutral", "happy"), ("happy", "neutral")):
        for subject in sorted(numbers[own] - numbers[other]):
            raise checks.InputError(
                f"{root / _file(own, subject)} has no partner {root / _file(other, subject)}"
            )
    if not numbers["neutral"]:
        raise checks.InputError(f"there are no pictures NNN_03.jpg in {root / 'neutral_front'}")
    return sorted(numbers["neutral"])
