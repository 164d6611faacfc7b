r"""Makes the pretrained models: a smile on a neutral face, and a neutral face from a smile.

    python -m experiments.pretrain --dataset=london --image_size=128 --output_dir=mlr_jax/pretrained

The models are warped ridges (mlr_jax/warped_ridge.py). Five-fold cross-validation over people chooses the
penalty, and measures the held-out error beside that of the published model, masked ridge. Then a model is
trained on all people. Weights are stored in half precision, whose cost is measured, too.

Writes into --output_dir: smile.npz and unsmile.npz (mlr_jax/model_file.py); results.csv, every candidate; and
README.md, the model card. Expected on London: MSE 0.80 (smile) and 0.77 (unsmile) of the unchanged pictures'
MSE, within 0.02, and sharpness 0.6; half precision changes the MSE by less than a part in
10,000. In two and a half minutes on 2 CPU cores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

import mlr_jax
from experiments.pictures import data
from experiments.reporting import averages
from experiments.running import run_folder, script
from mlr_jax import displacement, metrics, model_file, synthesis, warped_ridge
from mlr_jax.datasets import streams
from mlr_jax.datasets.pairs import Pairs, fold_indices, take
from mlr_jax.model_file import Model
from mlr_jax.photographs.expressions import transferable
from mlr_jax.synthesis import ExpressionModel
from mlr_jax.warped_ridge import WarpedModel

MODELS = {"smile": ("neutral", "happy"), "unsmile": ("happy", "neutral")}
"""Name -> the expression to start from, and the one to reach."""

KINDS = ("masked_ridge", "masked_ridge, change added", "warped_ridge")
"""The models compared: the published one, the same as applied to photographs, and the pretrained one."""

_HEADER = (
    "model", "kind", "window", "penalty", "num_people", "mse", "mse_se", "mse_of_input", "ssim",
    "ssim_of_input", "sharpness",
)  # fmt: skip

_WINDOW = flags.DEFINE_integer("window", 5, "Side of the window in pixels, odd.", lower_bound=1)
_PENALTIES = flags.DEFINE_list("penalties", ["3.2", "6.4", "12.8"], "Penalties to choose from.")
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
    best_rows: list[dict[str, Any]] = []
    for name, (source, target) in MODELS.items():
        stream = data.stream(source=source, target=target)
        pairs = streams.load(stream, data.name())
        fields = np.asarray(displacement.register(pairs.expressive, pairs.neutral))
        measured = [
            {"model": name, **row}
            for penalty in map(float, _PENALTIES.value)
            for row in _measure(pairs, fields, penalty)
        ]
        rows += measured
        best = {
            kind: min((row for row in measured if row["kind"] == kind), key=lambda row: row["mse"])
            for kind in KINDS
        }
        model = _fit_warped(pairs, fields, best[KINDS[-1]]["penalty"])
        path = output_dir / f"{name}.npz"
        model_file.save(
            path,
            model,
            template=data.template(stream),
            metadata=data.settings()
            | {"source": source, "target": target, "num_people": len(set(pairs.subjects))}
            | {"kind": KINDS[-1], "penalty": best[KINDS[-1]]["penalty"], "channel_mode": _CHANNEL_MODE.value}
            | {"mlr_jax version": mlr_jax.__version__},
            dtype=np.float16,
        )
        half = _cost_of_storage(model, model_file.load(path).model, pairs)
        best[KINDS[-1]] |= {"half": half, "bytes": path.stat().st_size}
        best_rows += best.values()
    run_folder.write_csv(
        output_dir / "results.csv", _HEADER, [{key: row[key] for key in _HEADER} for row in rows]
    )
    run_folder.write_bytes(output_dir / "README.md", _card(best_rows).encode())
    print(_table(best_rows))
    print(f"\nModels, model card and figures: {output_dir}")


def _measure(pairs: Pairs, fields: np.ndarray, penalty: float) -> list[dict[str, Any]]:
    """Held-out measures of each kind of model, as means over people."""
    figures: dict[str, dict[str, list[np.ndarray]]] = {kind: {} for kind in KINDS}
    for train, held_out in fold_indices(pairs.subjects, num_folds=_NUM_FOLDS.value):
        seen, unseen = take(pairs, train), take(pairs, held_out)
        published = synthesis.synthesize(_fit_masked(seen, penalty), unseen.neutral)
        added = unseen.neutral + jax.vmap(transferable)(published - unseen.neutral)
        warped = warped_ridge.synthesize(_fit_warped(seen, fields[train], penalty), unseen.neutral)
        for kind, pictures in zip(KINDS, map(jnp.asarray, (published, added, warped)), strict=True):
            for name, values in (
                ("mse", metrics.mse(pictures, unseen.expressive)),
                ("mse_of_input", metrics.mse(unseen.neutral, unseen.expressive)),
                ("ssim", metrics.ssim(jnp.clip(pictures, 0, 1), unseen.expressive)),
                ("ssim_of_input", metrics.ssim(unseen.neutral, unseen.expressive)),
                ("sharpness", metrics.sharpness(pictures, unseen.expressive)),
            ):
                figures[kind].setdefault(name, []).append(np.asarray(values))
    return [_summarize(kind, penalty, pairs, found) for kind, found in figures.items()]


def _summarize(
    kind: str, penalty: float, pairs: Pairs, figures: dict[str, list[np.ndarray]]
) -> dict[str, Any]:
    people = {name: np.concatenate(values) for name, values in figures.items()}
    return {
        "kind": kind,
        "window": _WINDOW.value,
        "penalty": penalty,
        "num_people": len(set(pairs.subjects)),
        "mse_se": averages.standard_error(people["mse"]),
        **{
            name: float(np.median(values) if name == "sharpness" else np.mean(values))
            for name, values in people.items()
        },
    }


def _fit_masked(pairs: Pairs, penalty: float) -> ExpressionModel:
    channels = cast(synthesis.Channels, _CHANNEL_MODE.value)
    return synthesis.fit(
        pairs.neutral, pairs.expressive, window=_WINDOW.value, penalty=penalty, channels=channels
    )


def _fit_warped(pairs: Pairs, fields: np.ndarray, penalty: float) -> WarpedModel:
    channels = cast(synthesis.Channels, _CHANNEL_MODE.value)
    return warped_ridge.fit(
        pairs.neutral,
        pairs.expressive,
        fields=fields,
        window=_WINDOW.value,
        penalty=penalty,
        channels=channels,
    )


def _cost_of_storage(model: WarpedModel, stored: Model, pairs: Pairs) -> float:
    """The relative increase of the MSE by storage."""
    assert isinstance(stored, WarpedModel)
    exact, rounded = (
        # In double precision, since the difference is small.
        np.mean((np.float64(warped_ridge.synthesize(each, pairs.neutral)) - pairs.expressive) ** 2)
        for each in (model, stored)
    )
    return float(rounded / exact - 1)


def _table(best_rows: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| model | | penalty | MSE x 1e3 | of the input | SSIM | of the input | sharpness | half precision "
        "| size |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in best_rows:
        stored = f"{row['half']:+.0e} | {row['bytes'] / 1e6:.2f} MB" if "half" in row else " | "
        lines.append(
            f"| `{row['model']}` | {row['kind']} | {row['penalty']:g} | {1e3 * row['mse']:.2f} ± "
            f"{1e3 * row['mse_se']:.2f} | {1e3 * row['mse_of_input']:.2f} | {row['ssim']:.3f} | "
            f"{row['ssim_of_input']:.3f} | {row['sharpness']:.2f} | {stored} |"
        )
    return "\n".join(lines)


def _card(best_rows: Sequence[dict[str, Any]]) -> str:
    size = flags.FLAGS.image_size
    command = f"python -m experiments.pretrain --dataset={data.name()} --image_size={size}"
    card = Path(__file__).parent / "reporting" / "model_card.md"
    return card.read_text().format(
        num_people=best_rows[0]["num_people"],
        size=size,
        command=command,
        num_folds=_NUM_FOLDS.value,
        table=_table(best_rows),
    )


if __name__ == "__main__":
    script.run(pretrain)
