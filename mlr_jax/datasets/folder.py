"""Any folder of pictures that are aligned already.

Either `<root>/<expression>/NAME.png`, one folder for each expression, the same NAME being the same person;
or the layout of the authors' published code, `<root>/trainA/x_1.png` (neutral) with
`<root>/trainB/x_1.png` (expressive).
"""

import os
import sys
from pathlib import Path

from mlr_jax import checks, images
from mlr_jax.datasets import streams
from mlr_jax.datasets._options import check_options
from mlr_jax.datasets._whole_pictures import whole
from mlr_jax.datasets.streams import PairStream

# Raise it when the same files give other pictures, so that cached ones are not used again.
_VERSION = 2


def stream(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int | None = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
) -> PairStream:
    """Opens pairs of pictures of one size, to be read one by one.

    Args:
      data_dir: the root folder.
      image_size: length in pixels that the shorter side is scaled to; None keeps the pictures' own size.
      channels: 1 (grey) or 3.
      source: the expression to start from, the name of its folder. In the layout with `trainA` and
        `trainB`, "neutral" is A and any other name is B.
      target: the expression to reach.

    Returns:
      One pair for each name, in alphabetical order; subjects are the names. The first source picture has
      been read to know its size.

    Raises:
      InputError: a folder is missing or empty, a picture has no partner, or the first one cannot be read.
        Reading another one that cannot be decoded, or differs in size, raises an InputError that names it.
    """
    check_options("folder", image_size=image_size, channels=channels, source=source, target=target)
    folders = _folders(Path(data_dir), source, target)
    endings = [_pictures(folder) for folder in folders]
    for own, other in ((0, 1), (1, 0)):
        lonely = sorted(endings[own].keys() - endings[other].keys())
        if lonely:
            picture = folders[own] / (lonely[0] + endings[own][lonely[0]])
            more = f", nor have {len(lonely) - 1} other pictures" if len(lonely) > 1 else ""
            raise checks.InputError(f"{picture} has no partner {lonely[0]} in {folders[other]}{more}")
    names = tuple(sorted(endings[0]))
    # There may be millions: of each file only the ending is kept.
    files = [
        (str(folder), [each[name] for name in names]) for folder, each in zip(folders, endings, strict=True)
    ]

    def path(side: int, index: int) -> str:
        folder, suffixes = files[side]
        return os.path.join(folder, names[index] + suffixes[index])

    return whole(names, path, loader=("folder", _VERSION), image_size=image_size, channels=channels)


load = streams.loader(stream, "the data set {data_dir}")


def _folders(root: Path, source: str, target: str) -> tuple[Path, Path]:
    """The folders of the two expressions, in either layout."""
    if (root / "trainA").is_dir() and (root / "trainB").is_dir():
        if "neutral" not in (source, target):
            raise checks.InputError(
                f"{root} has trainA (neutral) and trainB (expressive) only: source or target must be "
                f"'neutral', not {source!r} and {target!r}"
            )
        first, second = root / "trainA", root / "trainB"
        return (first, second) if source == "neutral" else (second, first)
    for folder in (root, root / source, root / target):
        if not folder.is_dir():
            known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
            hint = f"; it has the folders {', '.join(known)}" if known else ""
            raise checks.InputError(f"there is no folder {folder}{hint if folder != root else ''}")
    return root / source, root / target


def _pictures(folder: Path) -> dict[str, str]:
    """The endings of the files of a folder's pictures, by their names without ending."""
    pictures: dict[str, str] = {}
    for file in images.names_in(folder):
        name, suffix = os.path.splitext(file)
        if name in pictures:
            raise checks.InputError(
                f"{folder / (name + pictures[name])} and {folder / file} have the same name"
            )
        pictures[name] = sys.intern(suffix)
    if not pictures:
        raise checks.InputError(f"there are no pictures in {folder} ({' '.join(images.EXTENSIONS)})")
    return pictures
