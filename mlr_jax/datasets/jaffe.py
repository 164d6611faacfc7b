"""The Japanese Female Facial Expression set: ten women, seven expressions, a few shots of each.

Lyons, Kamachi and Gyoba (1998), given to those who ask at zenodo.org/record/3451524. Expected in a folder:

    KA.AN1.39.tiff

the subject, the expression (NE, HA, SA, SU, AN, DI, FE) with the number of the shot, and a running number;
other kinds of pictures will do, and other files are ignored. The set has no landmarks. With a table
`landmarks5.csv` beside the pictures, in the columns of `faces` and with `file` (such as KA.AN1.39.tiff), the
faces are aligned; without it pictures are taken whole.
"""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mlr_jax import alignment, checks, images
from mlr_jax.datasets import faces, source as sources
from mlr_jax.datasets.pairs import Pairs

_CODES = {
    "neutral": "NE",
    "happy": "HA",
    "sad": "SA",
    "surprised": "SU",
    "angry": "AN",
    "disgusted": "DI",
    "afraid": "FE",
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

    Pictures are kept in `cache_dir` for the next time, if it is given. `progress` wraps the subjects whose
    pairs are read, such as `tqdm.tqdm`.

    Raises:
      InputError: as for `stream`, or a picture cannot be read; the message names it.
    """
    opened = stream(
        data_dir, image_size=image_size, channels=channels, source=source, target=target, template=template
    )
    return sources.load(opened, f"the JAFFE set in {data_dir}", cache_dir=cache_dir, progress=progress)


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    template: alignment.FaceTemplate = alignment.FaceTemplate(),
) -> sources.Source:
    """Opens the set, to be read pair by pair.

    A subject's first shot of one expression goes with her first shot of the other, the second with the
    second, and so on. Shots that are left over are left out, as is who lacks an expression.

    Args:
      data_dir: the folder of the set.
      image_size: side of the aligned face, or of the whole picture, in pixels.
      channels: 1 (grey) or 3.
      source: "neutral", "happy", "sad", "surprised", "angry", "disgusted" or "afraid".
      target: another one of these.
      template: where eyes and mouth come to lie, if there are landmarks.

    Returns:
      The pairs in the order of subjects, "KA" and so on, and shots; with landmarks, aligned as
      `faces.aligned` says.

    Raises:
      InputError: there are no such pairs, two pictures are of the same shot, or one has no landmarks where
        others have. Whoever reads a picture that cannot be read, or whose landmarks are wrong, gets an
        InputError that names it.
    """
    faces.check_options(
        "jaffe", image_size=image_size, channels=channels, source=source, target=target, expressions=_CODES
    )
    root = Path(data_dir)
    shots = _shots(root)
    pairs = faces.pair_shots(shots[source], shots[target])
    if not pairs:
        raise checks.InputError(f"{root}: nobody has both a {source} and a {target} picture")
    table = root / "landmarks5.csv"
    if not table.exists():
        return faces.whole(
            [subject for subject, *_ in pairs],
            lambda side, index: str(root / pairs[index][1 + side]),
            loader=("jaffe", _VERSION),
            image_size=image_size,
            channels=channels,
        )
    landmarks = faces.read_landmarks(table)

    def face(file: str) -> faces.Face:
        if file not in landmarks:
            raise checks.InputError(f"{table} has no row for {file}")
        return faces.Face(str(root / file), landmarks[file], str(table))

    return faces.aligned(
        [(subject, face(first), face(second)) for subject, first, second in pairs],
        loader=("jaffe", _VERSION),
        image_size=image_size,
        channels=channels,
        template=template,
    )


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
