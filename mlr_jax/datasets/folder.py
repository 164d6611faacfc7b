"""Any folder of pictures that are aligned already.

Either `<root>/<expression>/NAME.png`, one folder for each expression, the same NAME being the same person;
or the layout of the authors' published code, `<root>/trainA/x_1.png` (neutral) with
`<root>/trainB/x_1.png` (expressive).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from mlr_jax import checks, images
from mlr_jax.datasets import cache
from mlr_jax.datasets.pairs import Pairs, check

# Raised by whoever changes what is made of the same files, so that no old pictures are reused.
_VERSION = 1


def load(
    data_dir: str | os.PathLike[str],
    *,
    image_size: int | None = 64,
    channels: int = 3,
    source: str = "neutral",
    target: str = "happy",
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
) -> Pairs:
    """Loads pairs of pictures of one size.

    Args:
      data_dir: the root folder.
      image_size: length in pixels that the shorter side is scaled to; None keeps the pictures' own size.
      channels: 1 (grey) or 3.
      source: the expression to start from, the name of its folder. In the layout with `trainA` and
        `trainB`, "neutral" is A and any other name is B.
      target: the expression to reach.
      cache_dir: where decoded pictures are kept for the next time, if anywhere.
      progress: wraps the list of pictures that are read, such as `tqdm.tqdm`.

    Returns:
      One pair for each name, in alphabetical order; subjects are the names.

    Raises:
      InputError: a folder is missing or empty, a picture has no partner, cannot be read, or differs in
        size from the others; the message names it.
    """
    if image_size is not None:
        checks.positive_integer("folder.load", "image_size", image_size)
    sources, targets = (_pictures(folder) for folder in _folders(Path(data_dir), source, target))
    for own, other in ((sources, targets), (targets, sources)):
        lonely = sorted(own.keys() - other.keys())
        if lonely:
            folder = next(iter(other.values())).parent
            more = f", nor have {len(lonely) - 1} other pictures" if len(lonely) > 1 else ""
            raise checks.InputError(f"{own[lonely[0]]} has no partner {lonely[0]} in {folder}{more}")
    names = sorted(sources)
    paths = [files[name] for files in (sources, targets) for name in names]
    key = {
        "loader": ("folder", _VERSION),
        "files": cache.fingerprint(paths),
        "image_size": image_size,
        "channels": channels,
    }

    def compute() -> Pairs:
        pictures = _read_all(paths, image_size, channels, progress)
        return Pairs(pictures[: len(names)], pictures[len(names) :], tuple(names))

    return check(cache.load_or_compute(cache_dir, key, compute), where=f"the data set {data_dir}")


def _folders(root: Path, source: str, target: str) -> tuple[Path, Path]:
    """The folders of the two expressions, in whichever layout the root has."""
    if source == target:
        raise checks.InputError(f"source and target are both {source!r}; they must differ")
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


def _pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names without ending."""
    pictures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in images.EXTENSIONS and not path.name.startswith("."):
            if path.stem in pictures:
                raise checks.InputError(f"{pictures[path.stem]} and {path} have the same name")
            pictures[path.stem] = path
    if not pictures:
        raise checks.InputError(f"there are no pictures in {folder} ({' '.join(images.EXTENSIONS)})")
    return pictures


def _read_all(
    paths: Sequence[Path],
    image_size: int | None,
    channels: int,
    progress: Callable[[Sequence], Iterable],
) -> np.ndarray:
    """All pictures as one array, after checking that they are of one size."""
    result: list[np.ndarray] = []
    shape: tuple[int, ...] = ()
    for path in progress(paths):
        picture = images.to_channels(images.read(path), channels)
        shape = shape or picture.shape
        if picture.shape != shape:
            raise checks.InputError(
                f"{path} is {picture.shape[1]} x {picture.shape[0]} pixels, but {paths[0]} is "
                f"{shape[1]} x {shape[0]}; all pictures must be of one size"
            )
        result.append(picture if image_size is None else images.resize(picture, image_size))
    return np.stack(result)
