"""What all experiments that compare methods share: their flags, and the way from points to tables.

An experiment is a list of `Point`s, in each of which every method is tried on every split. Finished trials
stay in the output folder's `trials`; the tables are written anew after each one.
"""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import numpy as np
from absl import flags
from tqdm import tqdm

from experiments.comparing import summary, trials
from experiments.comparing.methods import GANS, METHODS, VARIANTS
from experiments.comparing.methods.contract import Grid, Learn, Settings
from experiments.comparing.trials import Protocol, Trial
from experiments.gans.settings import GanSettings
from experiments.pictures import data
from experiments.running import run_folder
from mlr_jax import checks, synthesis
from mlr_jax.datasets.pairs import Pairs

TABLES = ("results.csv", "summary.csv", "selection.csv", "errors.csv")
REFERENCE = "masked_ridge"

# Heading -> how a row is shown in it.
_Columns = Mapping[str, Callable[[Mapping[str, Any]], str]]

_METHODS = flags.DEFINE_list(
    "methods", None, f"Which to compare, of {', '.join(METHODS)}; by default all that the question is about."
)
_SELECT = flags.DEFINE_enum(
    "select",
    "cv",
    ["cv", "fixed"],
    "How hyper-parameters are found: cross-validation on the training pairs, or fixed values (for masked "
    "ridge those of the paper).",
)
_NUM_FOLDS = flags.DEFINE_integer("num_folds", 5, "Folds of the cross-validation.", lower_bound=2)
_NUM_SEEDS = flags.DEFINE_integer(
    "num_seeds", 1, "How many splits to run, with --seed and the numbers that follow it.", lower_bound=1
)
_CHANNEL_MODE = flags.DEFINE_enum(
    "channel_mode",
    "independent",
    get_args(synthesis.Channels),
    "How masked ridge treats colour: each channel on its own, one set of weights for all channels, or "
    "windows that see all channels.",
)
_LEARN = flags.DEFINE_enum(
    "learn",
    "expression",
    get_args(Learn),
    "What every regression predicts: the expressive picture, as published, or its difference from the "
    "neutral one.",
)
_GAN_BUDGET = flags.DEFINE_float(
    "gan_budget", 1200.0, "Seconds for which each GAN is trained on each split at most.", lower_bound=0
)
_GAN_PATIENCE = flags.DEFINE_integer(
    "gan_patience", 20, "Epochs without a new least held-out error, after which training ends.", lower_bound=1
)
_GAN_WIDTH = flags.DEFINE_integer("gan_width", 64, "Channels of GANs' first layers.", lower_bound=1)
_GAN_BATCH = flags.DEFINE_integer(
    "gan_batch",
    None,
    "Pictures that a step of StarGAN and of GANimation sees; by default 16 and 25, as published.",
    lower_bound=1,
)
_GAN_CHECKPOINTS = flags.DEFINE_string(
    "gan_checkpoints",
    None,
    "Folder with GANs that experiments.train_gan has trained on the same pairs, each in a folder of its "
    "name; they are not trained here.",
)
_NUM_FACES = flags.DEFINE_integer("num_faces", 6, "Test faces that figures show.", lower_bound=1)
_RESTART = flags.DEFINE_bool("restart", False, "Begin anew, whatever trials an earlier run has finished.")
_FAST = flags.DEFINE_bool(
    "fast",
    False,
    "A few small grey faces, fixed values, few methods, but where flags say otherwise: a first look.",
)
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)

_FEW = ("copy_input", "masked_ridge", "l2_ridge")
_SMALL = {"num_subjects": 24, "image_size": 16, "channels": "1", "select": "fixed"}


class Point(NamedTuple):
    """One place on the way of an experiment.

    Attributes:
      columns: what the tables say of it, heading -> value.
      options: of the data set, in place of the flags.
      subset: (train, test, seed) -> those of them that are used.
      grids: method -> hyper-parameter -> values to choose from, in place of the usual ones.
      methods: those that are tried here; all by default.
    """

    columns: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    subset: Callable[[Pairs, Pairs, int], tuple[Pairs, Pairs]] = lambda train, test, seed: (train, test)
    grids: Mapping[str, Grid] = {}
    methods: Sequence[str] | None = None


# As the flags say.
_HERE = Point()


class Outcome(NamedTuple):
    """What the methods did at one point, as far as they could be tried.

    Attributes:
      columns: of the point.
      trials: method -> its trials, one for each split.
    """

    columns: Mapping[str, Any]
    trials: dict[str, list[Trial]]


class Run(NamedTuple):
    """A run that has ended.

    Attributes:
      output_dir: where it has written, and figures belong.
      outcomes: one for each point.
      title: of figures, the data set and the number of pairs.
      tests: for each point, the test pairs of the first split.
    """

    output_dir: Path
    outcomes: list[Outcome]
    title: str
    tests: list[Pairs]


class Begun(NamedTuple):
    """A run that has begun.

    Attributes:
      output_dir: where it writes.
      kept: where finished pieces are kept.
      seeds: of the splits.
      load: (seed, options of the data set in place of flags) -> training and test pairs.
      title: of figures, the data set and the number of pairs.
      configuration: as in config.json.
    """

    output_dir: Path
    kept: Path
    seeds: tuple[int, ...]
    load: Callable[[int, Mapping[str, Any]], tuple[Pairs, Pairs]]
    title: str
    configuration: Mapping[str, Any]


def is_fast() -> bool:
    """Whether --fast is given. If so, sets the flags that it stands for, where they are not given."""
    if _FAST.value:
        for name, value in _SMALL.items():
            if not flags.FLAGS[name].present:
                flags.FLAGS[name].value = value
    return _FAST.value


def is_searched() -> bool:
    """Whether hyper-parameters are chosen by cross-validation."""
    return _SELECT.value == "cv"


def num_folds() -> int:
    """Of the cross-validation."""
    return _NUM_FOLDS.value


def num_faces() -> int:
    """How many test faces figures show."""
    return _NUM_FACES.value


def methods(suitable: Sequence[str] = tuple(METHODS), *, usual: Sequence[str] | None = None) -> list[str]:
    """The methods that are to be compared.

    Args:
      suitable: those that the question can be put to.
      usual: those of them that are compared by default; unless it is given, all but `VARIANTS` and `GANS`,
        and with --fast a few.

    Raises:
      InputError: the flag names a method twice, or one that does not exist or does not suit.
    """
    is_usual_given = usual is not None
    usual = usual or [name for name in suitable if name not in (*VARIANTS, *GANS)]
    names = list(usual) if _METHODS.value is None else _METHODS.value
    if _FAST.value and _METHODS.value is None and not is_usual_given:
        names = [name for name in _FEW if name in names]
    for name in names:
        if name not in (*METHODS, *suitable):
            raise checks.InputError(f"--methods: there is no method {name!r}; there are {', '.join(METHODS)}")
        if name not in suitable:
            raise checks.InputError(
                f"--methods: this experiment is not about {name}, but about {', '.join(suitable)}"
            )
    if not names or len(set(names)) < len(names):
        raise checks.InputError("--methods must name at least one method, and none twice")
    return names


def grid(name: str, given: Mapping[str, Sequence[Any]] = {}) -> Grid:
    """The values of a method's hyper-parameters to choose from, one of each where nothing is to be chosen.

    Args:
      name: of the method.
      given: hyper-parameter -> values, in place of the usual ones.
    """
    usual: Grid = METHODS[name].grid
    if _SELECT.value == "fixed":
        usual = {key: (value,) for key, value in METHODS[name].fixed.items()}
    return {key: given.get(key, values) for key, values in usual.items()}


def settings() -> Settings:
    """What the flags say that holds for all methods."""
    gan = GanSettings(
        _GAN_BUDGET.value,
        _GAN_PATIENCE.value,
        _GAN_WIDTH.value,
        _GAN_BATCH.value,
        _GAN_CHECKPOINTS.value,
    )
    return Settings(cast(synthesis.Channels, _CHANNEL_MODE.value), cast(Learn, _LEARN.value), gan)


def begin(
    experiment: str,
    outputs: Sequence[str],
    described: Mapping[str, Any],
    *,
    at: Point = _HERE,
    check: Callable[[Pairs], None] = lambda train: None,
    about: str | None = None,
) -> Begun:
    """Finds the output folder and the pairs, and replaces what an earlier run has written there.

    Args:
      experiment: its name.
      outputs: file names that it will write.
      described: what config.json is to say besides the usual.
      at: the point whose pairs config.json and title describe.
      check: raises InputError if flags do not suit the training pairs; called before anything is replaced.
      about: what is learned, for the title, where it is not what the flags say.

    Raises:
      InputError: the data are not as they should be, or the folder cannot be written to.
    """
    seeds = data.seeds(_NUM_SEEDS.value)
    output_dir = run_folder.chosen(experiment)
    load = _loader(data.cache_folder(output_dir))
    train, test = at.subset(*load(seeds[0], at.options), seeds[0])
    check(train)
    kept = output_dir / "trials"
    if _RESTART.value:
        shutil.rmtree(kept, ignore_errors=True)
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
    return Begun(output_dir, kept, seeds, load, title, configuration)


def end(begun: Begun, found: Mapping[str, Any]) -> None:
    """Adds what was found to config.json."""
    run_folder.write_json(begun.output_dir / "config.json", {**begun.configuration, **found})


def run(
    experiment: str,
    points: Sequence[Point],
    names: Sequence[str],
    *,
    figures: Sequence[str],
    check: Callable[[Pairs], None] = lambda train: None,
    on_pairs: Callable[[Run], None] = lambda begun: None,
    about: str | None = None,
    show_rows: bool = False,
) -> Run:
    """Tries every method at every point on every split, the quick ones first, and writes the tables.

    A method that cannot be tried somewhere is left out there; standard error and config.json say why.
    Tables and figures have the methods in the order of `names`.

    Args:
      experiment: its name.
      points: where.
      names: of the methods.
      figures: file names that the experiment will write; what an earlier run left of them is removed.
      check: raises InputError if flags do not suit the training pairs; called before anything is replaced.
      on_pairs: draws what can be drawn when the first split is through.
      about: what is learned, for the title, where it is not what the flags say.
      show_rows: whether a row of the table is shown as soon as a method is through, on standard error.

    Returns:
      What came out.

    Raises:
      InputError: the data are not as they should be, or nothing could be tried.
    """
    last = points[-1]
    described = {
        "points": [dict(point.columns) for point in points],
        "grids": {name: grid(name, last.grids.get(name, {})) for name in names},
    }
    begun = begin(experiment, (*TABLES, *figures), described, at=last, check=check, about=about)
    protocol = Protocol(settings(), num_folds() if is_searched() else None, _NUM_FACES.value)
    done = Run(begun.output_dir, [Outcome(each.columns, {}) for each in points], begun.title, [])
    skipped: dict[str, str] = {}
    notes: list[str] = []
    shown = False
    total = len(begun.seeds) * sum(len(point.methods or names) for point in points)
    with tqdm(total=total, unit="trial", delay=2, leave=False) as progress:
        for seed in begun.seeds:
            for point, outcome in zip(points, done.outcomes, strict=True):
                train, test = point.subset(*begun.load(seed, point.options), seed)
                if seed == begun.seeds[0]:
                    done.tests.append(test)
                for name in _quick_first(point.methods or names):
                    where = ", ".join([name, *_pieces(point.columns), f"seed {seed}"])
                    progress.set_description(where, refresh=False)
                    try:
                        choices = grid(name, point.grids.get(name, {}))
                        trial = trials.run(
                            name, choices, train, test, seed, protocol=protocol, folder=begun.kept
                        )
                    except checks.InputError as error:
                        # The other methods' results are worth having.
                        skipped[where] = str(error)
                    else:
                        people = [data.person(subject, seed) for subject in test.subjects]
                        outcome.trials.setdefault(name, []).append(trial._replace(people=people))
                        _put_in_order(outcome.trials, names)
                        if show_rows:
                            _show_row(trial, is_first=not shown)
                            shown = True
                        if trial.shortfall is not None:
                            notes.append(f"{where}: {trial.shortfall}")
                        _write_tables(done)
                    progress.update()
            if seed == begun.seeds[0] and any(outcome.trials for outcome in done.outcomes):
                on_pairs(done)
    if not any(outcome.trials for outcome in done.outcomes):
        raise checks.InputError(": ".join(next(iter(skipped.items()))))
    for where, problem in skipped.items():
        print(f"skipped: {where}: {problem}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    end(begun, {"skipped": skipped, "notes": notes})
    return done


def summaries(done: Run) -> list[dict[str, Any]]:
    """The rows of summary.csv: one for each point and method."""
    return [
        dict(outcome.columns) | row
        for outcome in done.outcomes
        for row in summary.summarize(outcome.trials, REFERENCE)
    ]


def pictures(trial: Trial) -> np.ndarray:
    """The test pictures that a trial has kept, float32 in [0, 1]."""
    return trial.pictures.astype(np.float32) / 255


def _quick_first(names: Sequence[str]) -> list[str]:
    return sorted(names, key=lambda name: METHODS[name].duration)


def _put_in_order(tried: dict[str, list[Trial]], names: Sequence[str]) -> None:
    """Sorts the methods of an outcome as they are named."""
    for name in names:
        if name in tried:
            tried[name] = tried.pop(name)


def _loader(cache_dir: Path) -> Callable[[int, Mapping[str, Any]], tuple[Pairs, Pairs]]:
    """Loads a split; the last one again without reading it."""
    last: dict[tuple[Any, ...], tuple[Pairs, Pairs]] = {}

    def load(seed: int, options: Mapping[str, Any]) -> tuple[Pairs, Pairs]:
        key = (seed, *sorted(options.items()))
        if key not in last:
            last.clear()  # Two may be more than memory holds.
            last[key] = data.load_split(seed, cache_dir=cache_dir, **options)
        return last[key]

    return load


def _pieces(columns: Mapping[str, Any]) -> Iterator[str]:
    for key, value in columns.items():
        yield f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def _write_tables(done: Run) -> None:
    """Writes them anew after every trial, so that an interruption loses none that is finished."""
    headings = tuple(done.outcomes[0].columns)
    every = [
        (dict(outcome.columns), trial)
        for outcome in done.outcomes
        for each in outcome.trials.values()
        for trial in each
    ]
    every.sort(key=lambda entry: entry[1].row["seed"])
    results, candidates, errors = [], [], []
    for columns, trial in every:
        results.append(columns | dict(trial.row))
        common = columns | {"method": trial.row["method"], "seed": trial.row["seed"]}
        for choice, error in trial.candidates:
            chosen = int(choice == trial.row["choice"])
            candidates.append(common | {"candidate": choice, "mse": error, "chosen": chosen})
        for person, error in zip(trial.people, trial.errors, strict=True):
            errors.append(common | {"subject": person, "mse": float(error)})
    write = run_folder.write_csv
    write(done.output_dir / "results.csv", headings + trials.HEADER, results)
    write(done.output_dir / "summary.csv", headings + summary.HEADER, summaries(done))
    write(
        done.output_dir / "selection.csv",
        (*headings, "method", "seed", "candidate", "mse", "chosen"),
        candidates,
    )
    write(done.output_dir / "errors.csv", (*headings, "method", "seed", "subject", "mse"), errors)


def curves(done: Run, axis: str, measure: str, *, scale: float = 1.0) -> dict[str, dict[float, list[float]]]:
    """A measure of every method along the points of a run, for `curves.draw`.

    Args:
      done: a run whose points differ in `axis`.
      axis: the heading of their place; points where it is no number are left out.
      measure: a column of results.csv.
      scale: it is multiplied by.

    Returns:
      Method -> {place: values, one for each split}.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for outcome in done.outcomes:
        place = outcome.columns[axis]
        if isinstance(place, int | float):
            for name, each in outcome.trials.items():
                values = [trial.row[measure] * scale for trial in each]
                found.setdefault(name, {})[place] = values
    return found


def report(done: Run) -> None:
    """Prints a line for each point and method, and where everything is."""
    headings = {key: _cell(key) for key in done.outcomes[0].columns}
    print(f"{done.title}\n")
    rows = [
        dict(outcome.columns) | dict(trial.row)
        for outcome in done.outcomes
        for each in outcome.trials.values()
        for trial in each
    ]
    if len({row["seed"] for row in rows}) == 1:
        print(_table(headings | dict(_RESULT_COLUMNS), rows))
    else:
        print(_table(headings | dict(_SUMMARY_COLUMNS), summaries(done)))
    print(f"\nTables, figures and configuration: {done.output_dir}")


def _cell(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: str(row[key])


def _with_error(row: Mapping[str, Any], metric: str, scale: float, digits: int) -> str:
    mean, error = row[f"{metric}_mean"], row[f"{metric}_se"]
    text = f"{mean * scale:.{digits}f}"
    # A method that was skipped on all splits but one has no standard error.
    return text if error == "" else f"{text} ± {error * scale:.{digits}f}"


_RESULT_COLUMNS: _Columns = {
    "method": lambda row: row["method"],
    "MSE x 1e3": lambda row: f"{row['mse'] * 1e3:.3f}",
    "PSNR dB": lambda row: f"{row['psnr']:.2f}",
    "SSIM": lambda row: f"{row['ssim']:.4f}",
    "sharpness": lambda row: f"{row['sharpness']:.2f}",
    "parameters": lambda row: f"{row['num_parameters']:,}",
    "fit s": lambda row: f"{row['fit_seconds']:.3f}",
    "select s": lambda row: f"{row['select_seconds']:.1f}",
    "choice": lambda row: row["choice"],
}
_SUMMARY_COLUMNS: _Columns = {
    "method": lambda row: row["method"],
    "MSE x 1e3": lambda row: _with_error(row, "mse", 1e3, 3),
    "PSNR dB": lambda row: _with_error(row, "psnr", 1, 2),
    "SSIM": lambda row: _with_error(row, "ssim", 1, 4),
    "sharpness": lambda row: _with_error(row, "sharpness", 1, 2),
    "parameters": lambda row: f"{row['num_parameters']:,}",
    "fit s": lambda row: f"{row['fit_seconds']:.3f}",
    "MSE x 1e3 minus masked ridge's": lambda row: (
        "" if row["mse_minus_reference"] == "" else f"{row['mse_minus_reference'] * 1e3:+.3f}"
    ),
    "p": lambda row: "" if row["p_value"] == "" else f"{row['p_value']:.2g}",
}


def _show_row(trial: Trial, *, is_first: bool) -> None:
    """Writes a row above the progress bar, of fixed widths, since what comes later is not known yet."""
    widths = {"method": max(map(len, METHODS)), "choice": 0}
    lines = [{heading: heading for heading in _RESULT_COLUMNS}] if is_first else []
    lines.append({heading: show(trial.row) for heading, show in _RESULT_COLUMNS.items()})
    for line in lines:
        cells = [
            cell.ljust(widths[heading]) if heading in widths else cell.rjust(max(len(heading), 10))
            for heading, cell in line.items()
        ]
        tqdm.write("  ".join(cells).rstrip(), file=sys.stderr)


def _table(columns: _Columns, rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as aligned text, words to the left and numbers to the right."""
    lines = [list(columns), *([show(row) for show in columns.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if heading in ("method", "choice") else cell.rjust(width)
            for heading, cell, width in zip(columns, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )
