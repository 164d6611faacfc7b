"""The Extended Cohn-Kanade set: film sequences from a neutral face to the peak of an expression.

Lucey et al. (2010), given to researchers who ask, see jeffcohn.net/Resources. Expected in a folder:

    cohn-kanade-images/S005/001/S005_001_00000001.png ...
    Emotion/S005/001/S005_001_00000011_emotion.txt
    Landmarks/S005/001/S005_001_00000001_landmarks.txt ...

that is subject, sequence and frame. An emotion file has one number: 1 angry, 2 contemptuous, 3 disgusted,
4 afraid, 5 happy, 6 sad, 7 surprised. Sequences that have none, or 0, are left out. A landmark file has 68
lines `x y`, in the order of iBUG.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mlr_jax import alignment, checks
from mlr_jax.datasets import _tables, streams
from mlr_jax.datasets._aligned_crops import LandmarkedPicture, aligned
from mlr_jax.datasets._options import check_options, pair_shots
from mlr_jax.datasets.landmarks import parse_number
from mlr_jax.datasets.streams import PairStream

EXPRESSIONS = (
    "neutral",
    "angry",
    "contemptuous",
    "disgusted",
    "afraid",
    "happy",
    "sad",
    "surprised",
)
"""By the number that the set's emotion files have for them."""

_NUM_LANDMARKS = 68
_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)  # as seen in the picture, like all landmarks here
_MOUTH_CORNERS = [48, 54]

# Raise it when the same files give other pictures, so that cached ones are not used again.
_VERSION = 3


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
) -> PairStream:
    """Opens the set, to be read pair by pair.

    Each picture is aligned by its own eyes, and stretched by the distance from eyes to mouth in its pair's
    source picture. A sequence's last frame has its expression, and its first frame is neutral. From neutral
    to an expression, or back, each sequence of this expression is a pair. From one expression to another, a
    subject's first sequence of the one goes with the first of the other, and so on; surplus sequences are
    left out.

    Args:
      data_dir: the folder of the set.
      image_size: side of the aligned face, in pixels.
      channels: 1 (grey) or 3.
      source: one of `EXPRESSIONS`, to start from.
      target: another one, to reach.
      template: where eyes and mouth come to lie.

    Returns:
      The pairs in the order of subjects, "S005" and so on, and sequences.

    Raises:
      InputError: the folder has another layout, there are no such pairs, an emotion or landmark file is
        wrong, or pictures or landmarks of a sequence are missing. Reading a picture that cannot be decoded,
        or whose landmarks are wrong, raises an InputError that names it.
    """
    check_options(
        "ck_plus",
        image_size=image_size,
        channels=channels,
        source=source,
        target=target,
        expressions=EXPRESSIONS,
    )
    root = Path(data_dir)
    sequences = _sequences(root)

    def shots(expression: str, other: str) -> Mapping[str, list[LandmarkedPicture]]:
        """Each subject's pictures of an expression, to be paired with another one."""
        labelled, frame = (other, 0) if expression == "neutral" else (expression, 1)
        return {
            subject: [_ends(root, sequence)[frame] for sequence in own]
            for subject, own in sequences[labelled].items()
        }

    pairs = pair_shots(shots(source, target), shots(target, source))
    if not pairs:
        raise checks.InputError(f"{root}: no subject has both a {source} and a {target} picture")
    return aligned(
        pairs, loader=("ck_plus", _VERSION), image_size=image_size, channels=channels, template=template
    )


load = streams.loader(stream, "the CK+ set in {data_dir}")


def _sequences(root: Path) -> Mapping[str, Mapping[str, list[str]]]:
    """The sequences of each expression and subject, such as S005/001."""
    for folder in (root / "cohn-kanade-images", root / "Emotion", root / "Landmarks"):
        if not folder.is_dir():
            raise checks.InputError(
                f"there is no folder {folder}; data_dir must be the folder of CK+, which holds "
                "cohn-kanade-images, Emotion and Landmarks"
            )
    sequences: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in EXPRESSIONS}
    for folder in sorted((root / "Emotion").glob("*/*/")):
        subject, sequence = folder.parts[-2:]
        files = _files(folder, "_emotion.txt")
        if len(files) > 1:
            raise checks.InputError(f"{files[0]} and {files[1]} are of the same sequence")
        if files:
            sequences[_expression(files[0])][subject].append(f"{subject}/{sequence}")
    return sequences


def _expression(path: Path) -> str:
    """The expression that an emotion file names."""
    text = _tables.read_text(path).strip()
    number = parse_number(text)
    if number is None or number not in range(len(EXPRESSIONS)):
        raise checks.InputError(
            f"{path}: an emotion is a number from 0 to {len(EXPRESSIONS) - 1}, not {text[:40]!r}"
        )
    return EXPRESSIONS[int(number)]


def _ends(root: Path, sequence: str) -> tuple[LandmarkedPicture, LandmarkedPicture]:
    """The first and the last frame of a sequence."""
    folder = root / "cohn-kanade-images" / sequence
    frames = _files(folder, ".png") if folder.is_dir() else []
    if len(frames) < 2:
        raise checks.InputError(
            f"{folder} has {len(frames)} pictures (.png), but a labelled sequence has a first and a last one"
        )
    first, last = (
        LandmarkedPicture(str(path), _landmarks(table), str(table))
        for path in (frames[0], frames[-1])
        for table in [root / "Landmarks" / sequence / f"{path.stem}_landmarks.txt"]
    )
    return first, last


def _landmarks(path: Path) -> np.ndarray:
    """The `(4, 2)` landmarks of a face in a landmark file."""
    numbers = [parse_number(text) for text in _tables.read_text(path).split()]
    if len(numbers) != 2 * _NUM_LANDMARKS or None in numbers:
        raise checks.InputError(f"{path} must have {_NUM_LANDMARKS} lines of two numbers, x and y")
    points = np.array(numbers, np.float32).reshape(-1, 2)
    eyes = [points[eye].mean(axis=0) for eye in (_LEFT_EYE, _RIGHT_EYE)]
    return np.stack([*eyes, *points[_MOUTH_CORNERS]])


def _files(folder: Path, ending: str) -> list[Path]:
    """The folder's files with that ending, by name, without hidden ones."""
    return sorted(path for path in folder.glob(f"*{ending}") if not path.name.startswith("."))
