"""The Face Research Lab London Set: people with a neutral and a smiling face, seen from the front.

DeBruine and Jones (2017), figshare, doi:10.6084/m9.figshare.5047666, CC BY 4.0. Expected in a folder:

    neutral_front/NNN_03.jpg   smiling_front/NNN_08.jpg   landmarks5.csv

where `landmarks5.csv` has a row for each picture, in its pixels, x to the right and y down: `file` (such as
neutral_front/001_03.jpg), `left_eye_x`, `left_eye_y`, `right_eye_x`, ..., `mouth_left_x`, `mouth_left_y`,
`mouth_right_x`, `mouth_right_y`; left and right as seen in the picture.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mlr_jax import alignment, checks
from mlr_jax.datasets import faces, source as sources
from mlr_jax.datasets.pairs import Pairs

_FOLDERS = {
    "neutral": ("neutral_front", "03"),
    "happy": ("smiling_front", "08"),
}

# Raised by whoever changes what is made of the same files, so that no old pictures are reused.
_VERSION = 2


def load(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
) -> Pairs:
    """Reads all pairs of `stream` into memory; arguments as there.

    Aligned faces are kept in `cache_dir` for the next time, if it is given. `progress` wraps the people that
    are read, such as `tqdm.tqdm`.

    Raises:
      InputError: as for `stream`, or a picture cannot be read; the message names it.
    """
    opened = stream(
        data_dir, image_size=image_size, channels=channels, source=source, target=target, template=template
    )
    return sources.load(opened, f"the London set in {data_dir}", cache_dir=cache_dir, progress=progress)


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
) -> sources.Source:
    """Opens the set, to be read person by person, aligned as `faces.aligned` says.

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
      InputError: the folder has another layout, or a picture has no partner or no landmarks. Whoever reads a
        picture that cannot be read, or whose landmarks are wrong, gets an InputError that names it.
    """
    source, target = ("happy" if name == "smiling" else name for name in (source, target))
    faces.check_options(
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
    landmarks = faces.read_landmarks(table)

    def face(expression: str, subject: str) -> faces.Face:
        file = _file(expression, subject)
        if file not in landmarks:
            raise checks.InputError(f"{table} has no row for {file}")
        return faces.Face(str(root / file), landmarks[file], str(table))

    return faces.aligned(
        [(subject, face(source, subject), face(target, subject)) for subject in subjects],
        loader=("london", _VERSION),
        image_size=image_size,
        channels=channels,
        template=template,
    )


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
