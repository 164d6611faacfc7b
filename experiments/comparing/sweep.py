"""The loop over the points of an experiment: rows of a table from jobs, some of which may fail."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tqdm import tqdm

from experiments.comparing.sessions import Session
from experiments.reporting import averages
from experiments.running import run_folder
from mlr_jax import checks

Row = dict[str, Any]


class Job(NamedTuple):
    """One step of the loop, for instance a method on a split.

    Attributes:
      label: in the progress bar and in messages.
      rows: () -> its rows of the table. It loads what an earlier run has finished from `Session.results`.
    """

    label: str
    rows: Callable[[], Sequence[Row]]


class Swept(NamedTuple):
    """The results of the loop.

    Attributes:
      rows: of all jobs that did not fail.
      skipped: label of a job that failed -> why.
    """

    rows: list[Row]
    skipped: dict[str, str]


def run(
    session: Session,
    jobs: Callable[[int], Iterable[Job]],
    num_jobs: int | None,
    *,
    unit: str,
    write: Callable[[list[Row]], None],
    is_strict: bool = False,
) -> Swept:
    """Runs the jobs of all splits, and writes the table after each.

    A job that raises InputError is skipped; standard error says why.

    Args:
      session: of the experiment.
      jobs: seed of a split -> its jobs. Of a generator, code after the last job runs when the split is
        finished.
      num_jobs: of each split; None if it is not known beforehand.
      unit: of jobs, for the progress bar.
      write: writes the rows so far.
      is_strict: whether a job that fails ends the run.

    Raises:
      InputError: all jobs failed, or one did and `is_strict`.
    """
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    total = None if num_jobs is None else len(session.seeds) * num_jobs
    with tqdm(total=total, unit=unit, delay=2, leave=False) as progress:
        for seed in session.seeds:
            for job in jobs(seed):
                progress.set_description(job.label, refresh=False)
                try:
                    rows += job.rows()
                except checks.InputError as error:
                    if is_strict:
                        raise
                    skipped[job.label] = str(error)
                else:
                    write(rows)
                progress.update()
    if not rows:
        raise checks.InputError(": ".join(next(iter(skipped.items()))))
    for label, problem in skipped.items():
        print(f"skipped: {label}: {problem}", file=sys.stderr)
    return Swept(rows, skipped)


def writer(session: Session, header: Sequence[str]) -> Callable[[list[Row]], None]:
    """Returns a function that writes rows as results.csv."""
    return lambda rows: run_folder.write_csv(session.output_dir / "results.csv", header, rows)


def summarize(
    session: Session, rows: Sequence[Mapping[str, Any]], by: Sequence[str], measures: Sequence[str]
) -> list[Row]:
    """Writes summary.csv, means and standard errors over splits, and returns its rows.

    Args:
      session: of the experiment.
      rows: of results.csv.
      by: the columns that name the setting of a row.
      measures: the columns that are averaged.
    """
    summaries = averages.over_splits(rows, by, measures)
    run_folder.write_csv(session.output_dir / "summary.csv", tuple(summaries[0]), summaries)
    return summaries
