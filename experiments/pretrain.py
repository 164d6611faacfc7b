r"""Makes the pretrained models: a smile on a neutral face, and a neutral face from a smile.

    python -m experiments.pretrain --dataset=london --image_size=128 --output_dir=mlr_jax/pretrained

Window and penalty are chosen by five-fold cross-validation over people, which also says how good such a model
is on people that it was not trained on. Then it is trained on all. Weights are stored in half precision; what
that costs is measured too.

Writes into --output_dir: smile.npz and unsmile.npz (mlr_jax/model_file.py); results.csv, every candidate; and
README.md, the model card. Expected on London: MSE 0.80 (smile) of that of leaving the pictures as they are,
within 0.02; half precision changes it by less than a part in 10,000.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import jax
import numpy as np
from absl import flags
from jax.typing import ArrayLike

import mlr_jax
from experiments import curves, data, run_folder, script
from mlr_jax import metrics, model_file, synthesis
from mlr_jax.datasets import source as sources
from mlr_jax.datasets.pairs import Pairs, folds
from mlr_jax.model_file import SavedModel
from mlr_jax.photographs.expressions import transferable
from mlr_jax.synthesis import ExpressionModel

MODELS = {"smile": ("neutral", "happy"), "unsmile": ("happy", "neutral")}
"""Name -> the expression to start from, and the one to reach."""

_HEADER = (
    "model", "window", "penalty", "num_people", "mse", "mse_se", "mse_of_input", "ssim", "ssim_of_input",
    "sharpness", "mse_transferred", "sharpness_transferred",
)  # fmt: skip

_WINDOWS = flags.DEFINE_list("windows", ["3", "5"], "Sides of windows to choose from, odd.")
_PENALTIES = flags.DEFINE_list("penalties", ["1.6", "3.2", "6.4", "12.8"], "Penalties to choose from.")
_CHANNEL_MODE = flags.DEFINE_enum(
    "channel_mode", "shared", get_args(synthesis.Channels), "How colour is treated, see `experiments.train`."
)
_NUM_FOLDS = flags.DEFINE_integer("num_folds", 5, "Folds of the cross-validation.", lower_bound=2)
flags.adopt_module_key_flags(data)
flags.adopt_module_key_flags(run_folder)


def pretrain() -> None:
    """Chooses, trains, measures and writes both models."""
    output_dir = run_folder.chosen("pretrain")
    rows: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for name, (source, target) in MODELS.items():
        opened = data.stream(source=source, target=target)
        pairs = sources.load(opened, data.name())
        tried = [
            {"model": name, **_measure(pairs, int(window), float(penalty))}
            for window in _WINDOWS.value
            for penalty in _PENALTIES.value
        ]
        best = min(tried, key=lambda row: row["mse"])
        rows += tried
        settings = {"window": best["window"], "penalty": best["penalty"]}
        model = _fit(pairs, **settings)
        path = output_dir / f"{name}.npz"
        model_file.save(
            path,
            model,
            template=data.template(opened),
            metadata=data.settings()
            | {"source": source, "target": target, "num_people": best["num_people"]}
            | {**settings, "channel_mode": _CHANNEL_MODE.value, "mlr_jax version": mlr_jax.__version__},
            dtype=np.float16,
        )
        half = _cost_of_storage(model, model_file.load(path), pairs)
        chosen.append({**best, "bytes": path.stat().st_size, "half": half})
    run_folder.write_csv(output_dir / "results.csv", _HEADER, rows)
    run_folder.write_bytes(output_dir / "README.md", _card(chosen).encode())
    print(_table(chosen))
    print(f"\nModels, model card and figures: {output_dir}")


def _measure(pairs: Pairs, window: int, penalty: float) -> dict[str, Any]:
    """Of each person what a model says that was trained on others; means over people."""
    figures: dict[str, list[np.ndarray]] = {}
    for train, test in folds(pairs, num_folds=_NUM_FOLDS.value):
        model = _fit(train, window, penalty)
        predicted = synthesis.synthesize(model, test.neutral)
        added = test.neutral + jax.vmap(transferable)(predicted - test.neutral)
        for name, values in (
            ("mse", metrics.mse(predicted, test.expressive)),
            ("mse_of_input", metrics.mse(test.neutral, test.expressive)),
            ("ssim", metrics.ssim(np.clip(predicted, 0, 1), test.expressive)),
            ("ssim_of_input", metrics.ssim(test.neutral, test.expressive)),
            ("sharpness", _sharpness(predicted, test)),
            ("mse_transferred", metrics.mse(added, test.expressive)),
            ("sharpness_transferred", _sharpness(added, test)),
        ):
            figures.setdefault(name, []).append(np.asarray(values))
    people = {name: np.concatenate(values) for name, values in figures.items()}
    return {
        "window": window,
        "penalty": penalty,
        "num_people": len(set(pairs.subjects)),
        "mse_se": curves.standard_error(people["mse"].tolist()),
        **{
            name: float(np.median(values) if name.startswith("sharpness") else np.mean(values))
            for name, values in people.items()
        },
    }


def _fit(pairs: Pairs, window: int, penalty: float) -> ExpressionModel:
    return synthesis.fit(
        pairs.neutral,
        pairs.expressive,
        window=window,
        penalty=penalty,
        channels=cast(synthesis.Channels, _CHANNEL_MODE.value),
    )


def _sharpness(pictures: ArrayLike, test: Pairs) -> jax.Array:
    """Relative to the real pictures, in the middle, where the face is."""
    margin = np.shape(pictures)[1] // 8
    made, real = (
        metrics.laplacian_variance(np.clip(each, 0, 1)[:, margin:-margin, margin:-margin])
        for each in (pictures, test.expressive)
    )
    return made / real


def _cost_of_storage(model: ExpressionModel, saved: SavedModel, pairs: Pairs) -> float:
    """How much larger the MSE is as stored, as a part of it."""
    exact, stored = (
        # In double precision, since the difference is small.
        np.mean((np.float64(synthesis.synthesize(each, pairs.neutral)) - pairs.expressive) ** 2)
        for each in (model, saved.model)
    )
    return float(stored / exact - 1)


def _table(chosen: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| model | window | penalty | MSE x 1e3 | of the input | SSIM | of the input | sharpness | as added: "
        "MSE x 1e3 | sharpness | half precision | size |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in chosen:
        lines.append(
            f"| `{row['model']}` | {row['window']} | {row['penalty']:g} | {1e3 * row['mse']:.2f} ± "
            f"{1e3 * row['mse_se']:.2f} | {1e3 * row['mse_of_input']:.2f} | {row['ssim']:.3f} | "
            f"{row['ssim_of_input']:.3f} | {row['sharpness']:.2f} | "
            f"{1e3 * row['mse_transferred']:.2f} | {row['sharpness_transferred']:.2f} | {row['half']:+.0e} | "
            f"{row['bytes'] / 1e6:.2f} MB |"
        )
    return "\n".join(lines)


def _card(chosen: Sequence[dict[str, Any]]) -> str:
    size = flags.FLAGS.image_size
    command = f"python -m experiments.pretrain --dataset={data.name()} --image_size={size}"
    return (
        Path(__file__)
        .with_name("model_card.md")
        .read_text()
        .format(
            num_people=chosen[0]["num_people"],
            size=size,
            command=command,
            num_folds=_NUM_FOLDS.value,
            table=_table(chosen),
        )
    )


if __name__ == "__main__":
    script.run(pretrain)
