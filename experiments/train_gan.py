r"""Trains a GAN on the pairs of masked regression, and stores it.

    python -m experiments.train_gan --gan=pix2pix --dataset=london --data_dir=... --budget=1200
    python -m experiments.train_gan --gan=stargan --targets=happy,sad,surprised --budget=1200

pix2pix and cyclegan learn --source to --target; stargan and ganimation also --source to any of --targets, for
which every person must have a picture with each. People are split as in the comparisons, and a tenth of the
training people is held out. Training ends when the held-out error (the mean absolute difference from the true
pictures) has not fallen for --patience epochs, after --budget seconds, or after --num_epochs, over which
learning rates fall as published.

Writes into --output_dir: config.json; checkpoint.npz, from which the same command resumes after a stop or
Ctrl-C, with the same result; curve.csv, losses and the held-out error of each epoch; samples.png, held-out
faces; and train.json, a summary.

Needs `pip install '.[gans]'`.
"""

import json
import sys

from absl import flags

from experiments.gans import fitting, registry, training
from experiments.gans.contract import num_parameters
from experiments.gans.expression_sets import load_expression_set
from experiments.pictures import data
from experiments.running import memory, run_folder, script
from mlr_jax import checks

_GAN = flags.DEFINE_enum("gan", "pix2pix", list(registry.GANS), "Which.")
_TARGETS = flags.DEFINE_list(
    "targets", None, "Expressions to reach, for stargan and ganimation; by default --target alone."
)
_BUDGET = flags.DEFINE_float("budget", 1200.0, "Seconds of training at most.", lower_bound=0)
_NUM_EPOCHS = flags.DEFINE_integer("num_epochs", 200, "Epochs that are planned.", lower_bound=1)
_PATIENCE = flags.DEFINE_integer(
    "patience", 20, "Epochs without a new least held-out error, after which training ends.", lower_bound=1
)
_WIDTH = flags.DEFINE_integer(
    "width", 64, "Channels of the first layers; the others are multiples.", lower_bound=1
)
_BATCH = flags.DEFINE_integer(
    "batch",
    None,
    "Pictures that a step of stargan and ganimation sees; by default 16 and 25, as published.",
    lower_bound=1,
)
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)


def train() -> None:
    """Trains and reports."""
    name = _GAN.value
    if _TARGETS.value is not None and name in registry.OF_PAIRS:
        raise checks.InputError(f"--targets: {name} knows one expression to reach, --target")
    output_dir = run_folder.chosen("train_gan")
    (seed,) = data.seeds(1)
    people, _ = load_expression_set(seed, _TARGETS.value, cache_dir=data.cache_folder(output_dir))
    limits = training.Limits(_BUDGET.value, _NUM_EPOCHS.value, _PATIENCE.value)
    configuration = run_folder.describe_run(
        data.resolved_flags(), {"num_people": len(people.subjects), "expressions": people.expressions}
    )
    run_folder.start(output_dir, configuration, outputs=("train.json",))
    trained, _ = fitting.train(
        name,
        people,
        folder=output_dir,
        limits=limits,
        width=_WIDTH.value,
        batch_size=_BATCH.value,
        seed=seed,
    )
    if trained.ended_by == "signal":
        print(
            f"stopped after {trained.num_steps:,} steps, which are saved in {output_dir}; the same command "
            "goes on from there",
            file=sys.stderr,
        )
        sys.exit(130)
    best = min(trained.curve, key=lambda row: row["held_out_l1"])
    figures = {
        "gan": name,
        "num_steps": trained.num_steps,
        "seconds": trained.seconds,
        "ended_by": trained.ended_by,
        "best_epoch": best["epoch"],
        "held_out_l1": best["held_out_l1"],
        "copy_l1": fitting.copy_l1(people, seed=seed),
        "num_parameters": num_parameters(trained.params),
        "peak_bytes": memory.peak_bytes(),
    }
    run_folder.write_bytes(output_dir / "train.json", (json.dumps(figures, indent=2) + "\n").encode())
    print(f"{name}, {data.title()}, {len(people.subjects)} people, {' x '.join(map(str, people.shape))}")
    print(f"{trained.num_steps:,} steps in {trained.seconds:.0f} s; ended by: {trained.ended_by}")
    print(
        f"held-out L1 {best['held_out_l1']:.4f} after epoch {best['epoch']:.0f}; leaving faces as they are: "
        f"{figures['copy_l1']:.4f}"
    )
    print(f"\nCheckpoint, curve and samples: {output_dir}")


if __name__ == "__main__":
    script.run(train)
