"""One run of an experiment: its output folder, its splits and its config.json."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.comparing import options
from experiments.pictures import data
from experiments.running import run_folder
from mlr_jax.datasets.pairs import Pairs

# (train, test, seed) -> the pairs to use.
Subset = Callable[[Pairs, Pairs, int], tuple[Pairs, Pairs]]


class Session(NamedTuple):
    """A run of an experiment.

    Attributes:
      output_dir: where it writes.
      results: the folder of finished results, from which a stopped run resumes.
      seeds: of the splits.
      load: (seed, options of the data set in place of flags) -> training and test pairs.
      title: of figures, the data set and the number of pairs.
      configuration: as in config.json.
    """

    output_dir: Path
    results: Path
    seeds: tuple[int, ...]
    load: Callable[[int, Mapping[str, Any]], tuple[Pairs, Pairs]]
    title: str
    configuration: Mapping[str, Any]


def whole(train: Pairs, test: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """The subset that is all of them."""
    del seed
    return train, test


def start(
    experiment: str,
    outputs: Sequence[str],
    described: Mapping[str, Any],
    *,
    at: Mapping[str, Any] = {},
    subset: Subset = whole,
    check: Callable[[Pairs], None] = lambda train: None,
    about: str | None = None,
) -> Session:
    """Opens the output folder, loads the pairs, and removes the outputs of an earlier run.

    Args:
      experiment: its name.
      outputs: file names that it will write.
      described: further entries of config.json.
      at: options of the data set, in place of flags, for the pairs in config.json and in the title.
      subset: of these pairs.
      check: raises InputError if flags do not suit the training pairs; called before anything is replaced.
      about: what is learned, for the title, in place of the flags.

    Raises:
      InputError: the data are not as they should be, or the folder cannot be written to.
    """
    seeds = options.seeds()
    output_dir = run_folder.chosen(experiment)
    load = _loader(data.cache_folder(output_dir))
    train, test = subset(*load(seeds[0], at), seeds[0])
    check(train)
    results = output_dir / "trials"
    if options.is_restarted():
        shutil.rmtree(results, ignore_errors=True)
    configuration = run_folder.describe_run(
        data.resolved_flags(),
        {
            "experiment": experiment,
            "num_train": len(train.subjects),
            "num_test": len(test.subjects),
            "image_shape": train.neutral.shape[1:],
            "test_subjects": test.subjects,
            **described,
        },
    )
    run_folder.start(output_dir, configuration, outputs=outputs)
    title = f"{about or data.title()}, {len(train.subjects)} pairs to train, {len(test.subjects)} to test"
    if len(seeds) > 1:
        title += f", {len(seeds)} splits"
    return Session(output_dir, results, seeds, load, title, configuration)


def end(session: Session, found: Mapping[str, Any]) -> None:
    """Adds findings to config.json."""
    run_folder.write_json(session.output_dir / "config.json", {**session.configuration, **found})


def _loader(cache_dir: Path) -> Callable[[int, Mapping[str, Any]], tuple[Pairs, Pairs]]:
    """Loads splits, and keeps the last one."""
    last: dict[tuple[Any, ...], tuple[Pairs, Pairs]] = {}

    def load(seed: int, options: Mapping[str, Any]) -> tuple[Pairs, Pairs]:
        key = (seed, *sorted(options.items()))
        if key not in last:
            last.clear()  # Two may be more than memory holds.
            last[key] = data.load_split(seed, cache_dir=cache_dir, **options)
        return last[key]

    return load
