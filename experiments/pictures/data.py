"""The flags of the data set, which all experiments share, and its pairs."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.running import run_folder
from mlr_jax import checks, displacement
from mlr_jax.alignment import FaceTemplate
from mlr_jax.datasets import ck_plus, folder, jaffe, landmarks, london, manifest, streams, synthetic
from mlr_jax.datasets.pairs import Pairs, split_indices, split_indices_by_subjects, take
from mlr_jax.datasets.streams import PairStream

# Modules with `stream` and `load`.
DATASETS: Mapping[str, ModuleType] = {
    "synthetic": synthetic,
    "london": london,
    "jaffe": jaffe,
    "ck_plus": ck_plus,
    "folder": folder,
    "manifest": manifest,
}

# Published data sets, each looked for in the folder of its name.
_PUBLISHED = ("london", "jaffe", "ck_plus")

# Said once, though several splits are made.
_noted: set[str] = set()

_DATASET = flags.DEFINE_enum("dataset", "synthetic", list(DATASETS), "The data set.")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the data set, or the table of a manifest; synthetic faces need none. Without it, "
    f"{', '.join(_PUBLISHED)} are looked for in the folder of their name in $MLR_JAX_DATA.",
)
_SOURCE = flags.DEFINE_string("source", "neutral", "Expression to start from.")
_TARGET = flags.DEFINE_string("target", "happy", "Expression to reach.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 64, "Side of the faces in pixels.", lower_bound=16)
_CHANNELS = flags.DEFINE_enum("channels", "3", ["1", "3"], "1 for grey pictures, 3 for colour.")
_NUM_SUBJECTS = flags.DEFINE_integer(
    "num_subjects", 100, "How many people the synthetic data set has.", lower_bound=2
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the split and of the synthetic faces.", lower_bound=0)
_TEST_FRACTION = flags.DEFINE_float("test_fraction", 0.1, "Part of the people to test on.")
_TEST_LIST = flags.DEFINE_string(
    "test_list", None, "File with the subject ids to test on, one a line; all others train."
)
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir",
    None,
    "Folder for decoded and drawn pictures, for later runs of experiments that hold all of them in memory; "
    "several may share it. By default each has one in its --output_dir.",
)


def seeds(num_seeds: int) -> tuple[int, ...]:
    """The seeds of `num_seeds` runs.

    Raises:
      InputError: there are several, but they would all test on the same people.
    """
    if num_seeds > 1 and _TEST_LIST.value is not None:
        raise checks.InputError("--num_seeds needs random splits: leave out --test_list")
    return tuple(range(_SEED.value, _SEED.value + num_seeds))


def load_split(seed: int, *, cache_dir: Path, **options: object) -> tuple[Pairs, Pairs]:
    """Loads the pairs that the flags name, and splits them into `(train, test)`.

    Args:
      seed: of the split and of the synthetic faces, one of `seeds`.
      cache_dir: of decoded pictures, see `cache_folder`.
      **options: `image_size`, `source` or `target`, in place of the flag.

    Raises:
      InputError: the data are invalid, the test list cannot be read, or one of the two sets would be empty.
    """
    pairs = _load(seed, cache_dir, **options)
    people = _people(_open(seed, **options))
    # Folds, which the training pairs are split into later, keep a person's pairs together, too.
    pairs = pairs._replace(subjects=tuple(people.get(each, each) for each in pairs.subjects))
    train, test = _split(pairs.subjects, seed, people)
    return take(pairs, train), take(pairs, test)


def cache_folder(output_dir: Path) -> Path:
    """The folder of decoded pictures: that of the flag, made if needed, or one in `output_dir`.

    Raises:
      InputError: the flag's folder cannot be made or written to.
    """
    return run_folder.create(_CACHE_DIR.value, flag="cache_dir") if _CACHE_DIR.value else output_dir / "cache"


def load_others(seed: int, *, cache_dir: Path) -> dict[str, Pairs]:
    """Loads pairs of the same size and expressions from another data set than that of the flags.

    Args:
      seed: of the synthetic faces.
      cache_dir: of decoded pictures, see `cache_folder`.

    Returns:
      Name -> pairs: synthetic faces, or London where MLR_JAX_DATA has it; none if it lacks the expressions.

    Raises:
      InputError: a picture cannot be read.
    """
    options = {key: value for key, value in _options(seed).items() if key not in ("num_subjects", "seed")}
    if _DATASET.value != "synthetic":
        if {_SOURCE.value, _TARGET.value} <= set(synthetic.EXPRESSIONS):
            others = {"num_subjects": 20, "seed": seed, "cache_dir": cache_dir}
            return {"synthetic": synthetic.load(None, **others, **options)}
        return {}
    root = Path(os.environ.get("MLR_JAX_DATA", "")) / "london"
    if os.environ.get("MLR_JAX_DATA") and root.is_dir():
        with contextlib.suppress(checks.InputError):  # It has two expressions only.
            london.stream(root, **options)
            return {"london": london.load(root, cache_dir=cache_dir, **options)}
    return {}


def name() -> str:
    """The name of the data set."""
    return _DATASET.value


def load(*, cache_dir: Path) -> Pairs:
    """Loads all pairs that the flags name, without a split.

    Raises:
      InputError: the data are invalid.
    """
    return _load(_SEED.value, cache_dir)


def stream(**options: object) -> PairStream:
    """Opens the pairs that the flags name, to be read one by one.

    These are all pairs, or the training pairs if `--test_list` or `--test_fraction` is given.

    Args:
      **options: `source` or `target`, in place of the flag.

    Raises:
      InputError: the data are invalid; the pictures are not read.
    """
    opened = _open(_SEED.value, **options)
    if _TEST_LIST.value is None and not _TEST_FRACTION.present:
        return opened
    people = _people(opened)
    train, _ = _split([people.get(each, each) for each in opened.subjects], _SEED.value, people)
    return streams.take(opened, train)


def template(opened: PairStream) -> FaceTemplate | None:
    """The template of the faces of a data set, if it has one."""
    found = opened.key.get("template")
    return found if isinstance(found, FaceTemplate) else None


def beside(name: str) -> str | None:
    """The file of that name in the data set's folder, if there is one."""
    folder = None if _DATASET.value == "synthetic" else _data_dir()
    path = Path(folder or "") / name
    return str(path) if folder is not None and path.is_file() else None


def landmark_fields(opened: PairStream, path: str) -> np.ndarray:
    """Displacement fields of all pairs, from landmarks in both pictures.

    Args:
      opened: a stream of aligned faces.
      path: an npz file of landmarks, see `mlr_jax.datasets.landmarks.corresponding_points`.

    Returns:
      `(num_pairs, height, width, 2)` float32, for `warped_ridge.fit`.

    Raises:
      InputError: the faces were not aligned, or the file is invalid.
    """
    both = landmarks.corresponding_points(opened, Path(path).expanduser())
    shape = opened.shape[:2]
    return np.stack([displacement.from_landmarks(moved, fixed, shape) for fixed, moved in both])


def available_targets(targets: Sequence[str]) -> list[str]:
    """The expressions among `targets` that the data set has, by its file names.

    Raises:
      InputError: there is none; the message is about the first.
    """
    found, problems = [], []
    for target in targets:
        try:
            DATASETS[_DATASET.value].stream(_data_dir(), **_options(_SEED.value) | {"target": target})
            found.append(target)
        except checks.InputError as error:
            problems.append(error)
    if not found:
        raise problems[0] if problems else checks.InputError("there is no expression to learn")
    return found


def settings() -> dict[str, object]:
    """The data set and the expressions, without the place of its files."""
    return {"dataset": _DATASET.value, "source": _SOURCE.value, "target": _TARGET.value}


def person(subject: str, seed: int) -> str:
    """A name of the person for all splits; synthetic people differ with the seed."""
    return f"{subject}, seed {seed}" if _DATASET.value == "synthetic" else subject


def resolved_flags() -> dict[str, object]:
    """The flags whose meaning depends on more than their value, resolved."""
    return {"data_dir": _data_dir(), "channels": int(_CHANNELS.value)}


def target() -> str:
    """The expression to reach."""
    return _TARGET.value


def title(*, target: str | None = None) -> str:
    """The data set and the expressions, for figures; `target` in place of the flag."""
    return f"{_DATASET.value}: {_SOURCE.value} to {target or _TARGET.value}"


def _open(seed: int, **instead: object) -> PairStream:
    return DATASETS[_DATASET.value].stream(_data_dir(), **_options(seed) | instead)


def _people(opened: PairStream) -> Mapping[str, str]:
    """For subjects who share a picture with others, who stands for all of them; says so."""
    copies = streams.find_copies(opened)
    if copies.files:
        shown = "; ".join(" = ".join(group) for group in copies.files[:3])
        more = "; ..." if len(copies.files) > 3 else ""
        note = (
            f"note: {len(copies.files)} pictures occur under several subjects, who count as one person, so "
            f"that none is both trained and tested on: {shown}{more}"
        )
        if note not in _noted:
            _noted.add(note)
            print(note, file=sys.stderr)
    return copies.people


def _options(seed: int) -> dict[str, Any]:
    """The options of the data set's `stream`."""
    options: dict[str, Any] = {
        "image_size": _IMAGE_SIZE.value,
        "channels": int(_CHANNELS.value),
        "source": _SOURCE.value,
        "target": _TARGET.value,
    }
    if _DATASET.value == "synthetic":
        options |= {"num_subjects": _NUM_SUBJECTS.value, "seed": seed}
    return options


def _load(seed: int, cache_dir: Path, **instead: object) -> Pairs:
    """Loads the pairs that the flags name."""
    options = _options(seed) | instead
    # The bar appears only after two seconds, and is removed before any message.
    with tqdm(desc="reading pictures", unit="pair", delay=2, mininterval=1, leave=False) as bar:

        def progress(subjects: Sequence) -> Iterator:
            bar.total = len(subjects)
            for subject in subjects:
                yield subject
                bar.update()

        options["cache_dir"] = cache_dir
        if _DATASET.value != "synthetic":  # Whose bar would stand still during compilation.
            options["progress"] = progress
        return DATASETS[_DATASET.value].load(_data_dir(), **options)


def _split(subjects: Sequence[str], seed: int, people: Mapping[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """The indices of `(train, test)`, as the flags of test people say; `people` is from `_people`."""
    if _TEST_LIST.value is None:
        if not 0 < _TEST_FRACTION.value < 1:
            raise checks.InputError(f"--test_fraction must be between 0 and 1, not {_TEST_FRACTION.value:g}")
        return split_indices(subjects, test_fraction=_TEST_FRACTION.value, seed=seed)
    try:
        lines = Path(_TEST_LIST.value).expanduser().read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise checks.InputError(f"--test_list: cannot read {_TEST_LIST.value}: {reason}") from error
    test_subjects = [people.get(line.strip(), line.strip()) for line in lines if line.strip()]
    if not test_subjects:
        raise checks.InputError(f"--test_list: {_TEST_LIST.value} names no subject")
    try:
        return split_indices_by_subjects(subjects, test_subjects)
    except checks.InputError as error:
        raise checks.InputError(f"--test_list: {_TEST_LIST.value}: {error}") from error


def _data_dir() -> str | None:
    if _DATA_DIR.value is not None:
        if _DATASET.value == "synthetic":
            raise checks.InputError(f"--data_dir needs --dataset: {', '.join([*DATASETS][1:])}")
        return str(Path(_DATA_DIR.value).expanduser())
    if _DATASET.value == "synthetic":
        return None
    if _DATASET.value in _PUBLISHED and os.environ.get("MLR_JAX_DATA"):
        return str(Path(os.environ["MLR_JAX_DATA"]) / _DATASET.value)
    raise checks.InputError(
        f"--dataset={_DATASET.value} needs --data_dir, the folder it lies in"
        + (" (or MLR_JAX_DATA, the folder above it)" if _DATASET.value in _PUBLISHED else "")
    )
