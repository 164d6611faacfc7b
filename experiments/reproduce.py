r"""Do the paper's claims hold? (Khan et al., IJCV 2020) Every experiment, and a verdict on each claim.

    python -m experiments.reproduce --dataset=london --data_dir=...
    python -m experiments.reproduce --fast

Runs every script with full settings as a separate command, which writes into its own folder in --output_dir.
After a stop, the same command resumes. At the end, verdicts.md has a table of the claims with the numbers for
and against each, and report.html has all tables and figures. --publish copies what may be public, tables and
plots but no face of a real person, into a folder with a page README.md. The folder keeps its files of other
experiments, so that --only renews one part of the page.

Expected: verdicts as in docs/results/README.md, in more than an hour on 2 CPU cores: the docstrings of the
scripts say how long each part took.
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

from experiments.pictures import data
from experiments.reporting import results_page, verdicts
from experiments.reporting.results_page import Column, Section
from experiments.running import run_folder, script
from mlr_jax import checks


class Step(NamedTuple):
    """One command.

    Attributes:
      name: of its folder.
      question: a heading.
      experiment: the script.
      flags: besides those of the data set.
      figures: to publish, without real people of a data set.
      is_synthetic: whether it uses synthetic faces, for any data set.
      columns: heading -> column of a table that the page shows.
      table: that it shows.
    """

    name: str
    question: str
    experiment: str
    flags: Sequence[str]
    figures: Sequence[str]
    is_synthetic: bool = False
    columns: Mapping[str, Column] = {}
    table: str = "summary.csv"


_GREY = ("--channels=1",)
_FIVE_SPLITS = ("--num_seeds=5",)
# Methods that need only minutes at 128 x 128 in colour.
_QUICK = (
    "copy_input", "mean_change", "masked_ridge", "warped_ridge", "l2_ridge", "kernel_ridge", "reduced_rank",
    "pca_ridge",
)  # fmt: skip
_COMPARISON = {
    "method": Column("method"),
    "MSE x 1e3": Column("mse", 1e3, 2),
    "PSNR, dB": Column("psnr", 1, 2),
    "SSIM": Column("ssim", 1, 3),
    "sharpness": Column("sharpness", 1, 2),
    "parameters": Column("num_parameters", 1, 0),
    "MSE x 1e3 minus masked ridge's": Column("mse_minus_reference", 1e3, 2, "+"),
    "p": Column("p_value", 1, None),
}
_GAN_COLUMNS = {
    "pairs": Column("num_pairs"),
    "expression": Column("expression"),
    "pictures": Column("pictures"),
    "method": Column("method"),
    "MSE x 1e3": Column("mse", 1e3, 2),
    "of no change": Column("relative_mse", 1, 2),
    "SSIM": Column("ssim", 1, 3),
    "sharpness": Column("sharpness", 1, 2),
    "parameters": Column("num_parameters", 1, 0),
    "epochs": Column("epochs", 1, 0),
    "training, s": Column("fit_seconds", 1, 2),
    "one face, ms": Column("predict_seconds", 1e3, 1),
    "memory, MB": Column("megabytes", 1, 0),
}
# Flags that do not change results.
_FOLDERS = ("--output_dir=", "--cache_dir=", "--compilation_cache=")
# Flags for which --fast has smaller values.
_LARGE = ("--num_seeds", "--image_size", "--methods", "--gan_width", "--gan_budget", "--gan_batch")
STEPS = (
    Step(
        "compare_baselines",
        "How close does each method come to the real expression?",
        "compare_baselines",
        [*_GREY, *_FIVE_SPLITS],
        ["summary.png"],
    ),
    Step(
        "compare_changes",
        "And if every regression learns the change instead?",
        "compare_baselines",
        [*_GREY, *_FIVE_SPLITS, "--learn=change"],
        ["summary.png"],
    ),
    Step(
        "compare_colour",
        "And in colour, 128 x 128?",
        "compare_baselines",
        ["--image_size=128", *_FIVE_SPLITS, f"--methods={','.join(_QUICK)}"],
        ["summary.png"],
    ),
    Step(
        "perception_distortion",
        "How much sharpness does a low error cost?",
        "perception_distortion",
        [*_GREY, *_FIVE_SPLITS],
        ["perception_distortion.png"],
    ),
    Step(
        "full_resolution",
        "What is left of a photograph's sharpness?",
        "full_resolution",
        ["--image_size=128", *_FIVE_SPLITS],
        [],
        columns={
            "size": Column("size"),
            "output": Column("output"),
            "MSE x 1e3": Column("mse", 1e3, 2),
            "SSIM": Column("ssim", 1, 3),
            "sharpness": Column("sharpness", 1, 2),
            "of the input's": Column("sharpness_of_input", 1, 2),
            "on the nose": Column("nose_sharpness", 1, 2),
            "mouth MSE x 1e3": Column("mouth_mse", 1e3, 2),
        },
    ),
    Step(
        "displacement_fields",
        "How well can it be known where an expression will move the pixels of a face?",
        "displacement_fields",
        ["--image_size=128"],
        ["displacement_fields.png"],
    ),
    Step(
        "receptive_field",
        "How large should a receptive field be?",
        "receptive_field",
        [*_GREY, *_FIVE_SPLITS],
        ["receptive_field.png"],
    ),
    Step(
        "penalty",
        "How strong should the penalty be?",
        "penalty",
        [*_GREY, *_FIVE_SPLITS],
        ["penalty.png"],
    ),
    Step(
        "model_selection",
        "What does it gain that the model chooses its own window and penalty?",
        "model_selection",
        [*_FIVE_SPLITS],
        ["model_selection.png", "maps.png"],
        columns={
            "size": Column("image_size"),
            "channels": Column("channels"),
            "method": Column("method"),
            "MSE x 1e3": Column("mse", 1e3, 2),
            "of masked ridge as published": Column("relative_mse", 1, 3),
        },
        table="relative.csv",
    ),
    Step(
        "training_size",
        "How many pairs does each method need?",
        "training_size",
        [*_GREY, *_FIVE_SPLITS],
        ["training_size.png"],
    ),
    Step(
        "image_size",
        "How large can the pictures be?",
        "image_size",
        _GREY,
        ["image_size.png"],
    ),
    Step(
        "out_of_dataset",
        "What does each method make of faces unlike those it has learned from?",
        "out_of_dataset",
        ["--num_seeds=3"],
        ["out_of_dataset.png"],
    ),
    Step(
        "out_of_synthetic",
        "The same, learned from drawn faces: an astronaut and a cat",
        "out_of_dataset",
        ["--select=fixed", "--num_faces=1"],
        ["public_faces.png"],
        is_synthetic=True,
    ),
    Step(
        "gan_comparison",
        "Are GANs photo-realistic near their training data, and do they fail away from it?",
        "gan_comparison",
        ["--gan_width=32", "--gan_budget=1200"],
        ["gan_comparison.png"],
        columns=_GAN_COLUMNS,
    ),
    Step(
        "gan_expressions",
        "The same for several expressions (synthetic faces)",
        "gan_comparison",
        [
            "--targets=happy,sad,surprised",
            "--select=fixed",
            "--image_size=32",
            "--gan_width=16",
            "--gan_budget=600",
            "--gan_batch=4",
            "--num_faces=3",
        ],
        ["gan_comparison.png", "public_faces.png"],
        is_synthetic=True,
        columns=_GAN_COLUMNS,
    ),
    Step(
        "expressions",
        "Which expressions can be learned? (Synthetic faces)",
        "expressions",
        [*_GREY, "--select=fixed"],
        ["expressions.png", "faces.png"],
        is_synthetic=True,
    ),
)

_ONLY = flags.DEFINE_list("only", None, f"Some of: {', '.join(step.name for step in STEPS)}.")
_FAST = flags.DEFINE_bool("fast", False, "Every script with --fast: a first look.")
_PUBLISH = flags.DEFINE_string("publish", None, "Folder for what may be shown to everyone.")
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)


def reproduce() -> None:
    """Runs all steps and writes the verdicts."""
    steps = _chosen()
    output_dir = run_folder.chosen("reproduce")
    _check_others(output_dir, steps)
    seconds = _read_seconds(output_dir)
    for place, step in enumerate(steps):
        command = [*_command(step), *_given_flags(step)]
        print(f"[{place + 1} of {len(steps)}] {shlex.join(command)}", flush=True)
        start = time.perf_counter()
        # Many steps read the same pictures.
        folders = (
            f"--output_dir={output_dir / step.name}",
            f"--cache_dir={data.cache_folder(output_dir)}",
        )
        done = subprocess.run([sys.executable, *command[1:], *folders])
        # Earlier, stopped runs count, too.
        seconds[step.name] = seconds.get(step.name, 0.0) + time.perf_counter() - start
        run_folder.write_json(output_dir / "seconds.json", seconds)
        if done.returncode:
            raise checks.InputError(
                f"{step.name} failed, as it says above; the same command goes on from there"
            )
    found = verdicts.judge(output_dir)
    run_folder.write_bytes(output_dir / "verdicts.md", verdicts.table(found).encode())
    report = [sys.executable, "-m", "experiments.report", f"--runs={output_dir}"]
    subprocess.run([*report, f"--output={output_dir / 'report.html'}"], check=True)
    for each in found:
        print(f"\n{each.claim}: {each.verdict}\n  {each.evidence}")
    print(f"\nVerdicts and report: {output_dir}")
    if _PUBLISH.value:
        _publish(output_dir, Path(_PUBLISH.value).expanduser(), seconds)


def _chosen() -> list[Step]:
    names = [step.name for step in STEPS]
    for name in _ONLY.value or ():
        if name not in names:
            raise checks.InputError(f"--only: there is no {name!r}; there are {', '.join(names)}")
    if _ONLY.value == []:
        raise checks.InputError(f"--only must name one at least of {', '.join(names)}")
    return [step for step in STEPS if _ONLY.value is None or step.name in _ONLY.value]


def _check_others(output_dir: Path, steps: Sequence[Step]) -> None:
    """Raises InputError if an earlier run that stays used other data: verdicts compare all runs."""
    for step in STEPS:
        path = output_dir / step.name / "config.json"
        if step in steps or not path.exists():
            continue
        try:
            # Without the script and its folders.
            arguments = json.loads(path.read_text())["command"][1:]
            given = [each for each in arguments if not each.startswith(_FOLDERS)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise checks.InputError(f"{path} is damaged; run {step.name} again") from error
        wanted = [*_command(step)[3:], *_given_flags(step)]
        if given != wanted:
            raise checks.InputError(
                f"{path.parent} was run with {shlex.join(given)}, not with {shlex.join(wanted)}; give the "
                "same flags again, or another --output_dir"
            )


def _command(step: Step) -> list[str]:
    fast = ["--fast"] if _FAST.value else []
    # --test_list gives one split.
    left_out = _LARGE if _FAST.value else _LARGE[:1] if flags.FLAGS.test_list is not None else ()
    own = [flag for flag in step.flags if not flag.startswith(left_out)]
    return ["python", "-m", f"experiments.{step.experiment}", *own, *fast]


def _given_flags(step: Step) -> list[str]:
    """The given flags of the data set."""
    given = _flags_of_data()
    if step.is_synthetic:
        given = [flag for flag in given if flag.name in ("image_size", "num_subjects", "seed")]
    return [flag.serialize() for flag in given if flag.present]


def _flags_of_data() -> list[flags.Flag]:
    known = flags.FLAGS.get_flags_for_module(data.__name__)
    return [flag for flag in known if flag.name != "cache_dir"]


def _read_seconds(output_dir: Path) -> dict[str, float]:
    try:
        return json.loads((output_dir / "seconds.json").read_text())
    except (OSError, ValueError):
        return {}


def _publish(output_dir: Path, folder: Path, seconds: Mapping[str, float]) -> None:
    """Copies summaries and plots, and writes the page."""
    sections = [
        Section(
            step.name,
            step.question,
            shlex.join([*_command(step), *_public(_given_flags(step))]),
            step.figures,
            seconds.get(step.name),
            _COMPARISON if step.experiment == "compare_baselines" else step.columns,
            step.table,
        )
        for step in STEPS
    ]
    fast = ["--fast"] if _FAST.value else []
    given = [flag.serialize() for flag in _flags_of_data() if flag.present]
    command = shlex.join(["python", "-m", "experiments.reproduce", *fast, *_public(given)])
    results_page.publish(output_dir, folder, command, sections)
    print(f"Published: {folder / 'README.md'}")


def _public(given: Sequence[str]) -> list[str]:
    """The flags without paths of files."""
    places = {"--data_dir": "FOLDER", "--test_list": "FILE"}
    names = [flag.partition("=")[0] for flag in given]
    return [
        f"{name}={places[name]}" if name in places else flag for name, flag in zip(names, given, strict=True)
    ]


if __name__ == "__main__":
    script.run(reproduce)
