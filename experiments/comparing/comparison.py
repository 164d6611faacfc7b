"""Every method at every point on every split: the loop of the experiments that compare methods.

An experiment is a list of `Point`s. Finished trials stay in the output folder's `trials`; the tables are
rewritten after each one.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from experiments.comparing import comparison_tables, options, sessions, sweep, trials
from experiments.comparing.methods import METHODS
from experiments.comparing.methods.method import Grid
from experiments.comparing.outcomes import Comparison, Outcome
from experiments.comparing.sessions import Subset
from experiments.comparing.sweep import Job
from experiments.comparing.trials import Protocol, Trial
from experiments.pictures import data
from mlr_jax.datasets.pairs import Pairs

TABLES = ("results.csv", "summary.csv", "selection.csv", "errors.csv")


class Point(NamedTuple):
    """One setting of an experiment.

    Attributes:
      columns: of the tables, heading -> value.
      options: of the data set, in place of the flags.
      subset: (train, test, seed) -> the pairs to use.
      grids: method -> hyper-parameter -> values to choose from, in place of the usual ones.
      methods: tried at this point; all by default.
    """

    columns: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    subset: Subset = sessions.whole
    grids: Mapping[str, Grid] = {}
    methods: Sequence[str] | None = None


class _PairsOfSplit(NamedTuple):
    train: Pairs
    test: Pairs
    seed: int


def run(
    experiment: str,
    points: Sequence[Point],
    names: Sequence[str],
    *,
    figures: Sequence[str],
    check: Callable[[Pairs], None] = lambda train: None,
    on_first_split: Callable[[Comparison], None] = lambda done: None,
    about: str | None = None,
    show_rows: bool = False,
) -> Comparison:
    """Tries every method at every point on every split, the quick ones first, and writes the tables.

    A method that fails at a point is left out there; standard error and config.json say why.
    Tables and figures have the methods in the order of `names`.

    Args:
      experiment: its name.
      points: at which methods are tried.
      names: of the methods.
      figures: file names of the experiment's figures; those of an earlier run are removed.
      check: raises InputError if flags do not suit the training pairs; called before anything is replaced.
      on_first_split: called after the first split, to draw its figures.
      about: what is learned, for the title, in place of the flags.
      show_rows: whether standard error shows each row as soon as its method is finished.

    Returns:
      The trials of every method.

    Raises:
      InputError: the data are not as they should be, or nothing could be tried.
    """
    last = points[-1]
    described = {
        "points": [dict(point.columns) for point in points],
        "grids": {name: options.grid(name, last.grids.get(name, {})) for name in names},
    }
    session = sessions.start(
        experiment,
        (*TABLES, *figures),
        described,
        at=last.options,
        subset=last.subset,
        check=check,
        about=about,
    )
    done = Comparison(session.output_dir, [Outcome(each.columns, {}) for each in points], session.title, [])
    notes: list[str] = []

    def try_method(
        name: str, label: str, point: Point, outcome: Outcome, split: _PairsOfSplit
    ) -> list[sweep.Row]:
        protocol = Protocol(options.settings(), options.num_search_folds(), options.num_faces())
        choices = options.grid(name, point.grids.get(name, {}))
        trial = trials.run(name, choices, *split, protocol=protocol, folder=session.results)
        people = [data.person(subject, split.seed) for subject in split.test.subjects]
        is_first = not any(each.trials for each in done.outcomes)
        outcome.trials.setdefault(name, []).append(trial._replace(people=people))
        _put_in_order(outcome.trials, names)
        if show_rows:
            comparison_tables.show_row(trial, is_first=is_first)
        if trial.shortfall is not None:
            notes.append(f"{label}: {trial.shortfall}")
        return [dict(trial.row)]

    def jobs(seed: int) -> Iterator[Job]:
        for point, outcome in zip(points, done.outcomes, strict=True):
            split = _PairsOfSplit(*point.subset(*session.load(seed, point.options), seed), seed)
            if seed == session.seeds[0]:
                done.tests.append(split.test)
            for name in _quick_first(point.methods or names):
                label = ", ".join([name, *_words(point.columns), f"seed {seed}"])
                yield Job(label, partial(try_method, name, label, point, outcome, split))
        if seed == session.seeds[0] and any(outcome.trials for outcome in done.outcomes):
            on_first_split(done)

    num_jobs = sum(len(point.methods or names) for point in points)
    swept = sweep.run(session, jobs, num_jobs, unit="trial", write=lambda rows: comparison_tables.write(done))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    sessions.end(session, {"skipped": swept.skipped, "notes": notes})
    return done


def _quick_first(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: METHODS[name].duration)


def _put_in_order(tried: dict[str, list[Trial]], names: Sequence[str]) -> None:
    """Sorts the methods of an outcome as they are named."""
    for name in names:
        if name in tried:
            tried[name] = tried.pop(name)


def _words(columns: Mapping[str, Any]) -> Iterator[str]:
    for key, value in columns.items():
        yield f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
