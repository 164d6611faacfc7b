"""The Japanese Female Facial Expression set: ten women, seven expressions, a few shots of each.

Lyons, Kamachi and Gyoba (1998), given to those who ask at zenodo.org/record/3451524. Expected in a folder:

    KA.AN1.39.tiff

the subject, the expression (NE, HA, SA, SU, AN, DI, FE) with the number of the shot, and a running number;
pictures in other formats will do, and other files are ignored. The set has no landmarks. With a table
`landmarks5.csv` beside the pictures, which has `file` (such as KA.AN1.39.tiff) and the columns of
`datasets.landmarks`, the faces are aligned; without it pictures are taken whole.
"""

import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from mlr_jax import alignment, checks, images
from mlr_jax.datasets import streams
from mlr_jax.datasets._aligned_crops import LandmarkedPicture, aligned
from mlr_jax.datasets._options import check_options, pair_shots
from mlr_jax.datasets._whole_pictures import whole
from mlr_jax.datasets.landmarks import read_landmarks
from mlr_jax.datasets.streams import PairStream

_CODES = {
    "neutral": "NE",
    "happy": "HA",
    "sad": "SA",
    "surprised": "SU",
    "angry": "AN",
    "disgusted": "DI",
    "afraid": "FE",
}

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

    A subject's first shot of one expression goes with her first shot of the other, the second with the
    second, and so on. Surplus shots are left out, and so is a subject who lacks an expression.

    With landmarks, each picture is aligned by its own eyes, and stretched by the distance from eyes to mouth
    in its pair's source picture.

    Args:
      data_dir: the folder of the set.
      image_size: side of the aligned face, or of the whole picture, in pixels.
      channels: 1 (grey) or 3.
      source: "neutral", "happy", "sad", "surprised", "angry", "disgusted" or "afraid".
      target: another one of these.
      template: where eyes and mouth come to lie, if there are landmarks.

    Returns:
      The pairs in the order of subjects, "KA" and so on, and shots.

    Raises:
      InputError: there are no such pairs, two pictures are of the same shot, or one has no landmarks where
        others have. Reading a picture that cannot be decoded, or whose landmarks are wrong, raises an
        InputError that names it.
    """
    check_options(
        "jaffe", image_size=image_size, channels=channels, source=source, target=target, expressions=_CODES
    )
    root = Path(data_dir)
    shots = _shots(root)
    pairs = pair_shots(shots[source], shots[target])
    if not pairs:
        raise checks.InputError(f"{root}: no subject has both a {source} and a {target} picture")
    table = root / "landmarks5.csv"
    if not table.exists():
        return whole(
            [subject for subject, *_ in pairs],
            lambda side, index: str(root / pairs[index][1 + side]),
            loader=("jaffe", _VERSION),
            image_size=image_size,
            channels=channels,
        )
    landmarks = read_landmarks(table)

    def face(file: str) -> LandmarkedPicture:
        if file not in landmarks:
            raise checks.InputError(f"{table} has no row for {file}")
        return LandmarkedPicture(str(root / file), landmarks[file], str(table))

    return aligned(
        [(subject, face(first), face(second)) for subject, first, second in pairs],
        loader=("jaffe", _VERSION),
        image_size=image_size,
        channels=channels,
        template=template,
    )


load = streams.loader(stream, "the JAFFE set in {data_dir}")


def _shots(root: Path) -> Mapping[str, Mapping[str, list[str]]]:
    """The files of each expression and subject, in the order of their shots."""
    if not root.is_dir():
        raise checks.InputError(f"there is no folder {root}; data_dir must be the folder of the JAFFE set")
    pattern = rf"(\w+)\.({'|'.join(_CODES.values())})(\d+)\.\d+"
    files: dict[tuple[str, str, int], str] = {}
    for file in sorted(os.listdir(root)):
        name, suffix = os.path.splitext(file)
        match = re.fullmatch(pattern, name)
        if match and suffix.lower() in images.EXTENSIONS:
            shot = match[2], match[1], int(match[3])
            if shot in files:
                raise checks.InputError(f"{root / files[shot]} and {root / file} are of the same shot")
            files[shot] = file
    if not files:
        raise checks.InputError(f"there are no pictures with names like KA.AN1.39.tiff in {root}")
    shots: dict[str, dict[str, list[str]]] = {name: defaultdict(list) for name in _CODES}
    names = {code: name for name, code in _CODES.items()}
    for code, subject, number in sorted(files):
        shots[names[code]][subject].append(files[code, subject, number])
    return shots
