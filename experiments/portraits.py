r"""Applies the pretrained models to two photographs of scikit-image: an astronaut and a cat.

    python -m experiments.portraits

The astronaut smiles, so her smile is taken off; the cat gets one. Writes into --output_dir: portraits.png,
each photograph unchanged, at half and at full intensity, and with the face replaced by the model's output
(`experiments.synthesize --detail=none`) instead of moved and changed; and parts.png, movement and change
separately. No pixel of a closed mouth can move to where teeth should be: the change draws them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import flags
from matplotlib.figure import Figure

from experiments.pictures import out_of_distribution
from experiments.reporting import figures
from experiments.running import run_folder, script
from mlr_jax import pretrained
from mlr_jax.alignment import FaceTemplate
from mlr_jax.photographs import expressions, files
from mlr_jax.photographs.expressions import Cutout, Detail, Effect, Landmarks
from mlr_jax.photographs.files import Photograph

flags.adopt_module_key_flags(run_folder)


class _Row(NamedTuple):
    """A photograph, the model, its intensity; left, top and side of the shown part."""

    portrait: out_of_distribution.Portrait
    model: str
    intensity: float
    view: tuple[int, int, int]


def draw() -> None:
    """Draws both figures."""
    output_dir = run_folder.chosen("portraits")
    rows = (
        _Row(out_of_distribution.astronaut(), "unsmile", 1.0, (140, 28, 170)),
        _Row(out_of_distribution.cat(), "smile", 2.0, (75, 0, 300)),
    )
    for name, panels in (("portraits.png", _ways), ("parts.png", _parts)):
        content = _figure([panels(row) for row in rows], [row.view for row in rows])
        run_folder.write_bytes(output_dir / name, content)
        print(output_dir / name)


def _ways(row: _Row) -> dict[str, np.ndarray]:
    """The photograph, and results of `experiments.synthesize`."""
    photograph = _photograph(row)
    panels = {"photograph": photograph.levels}
    ways: tuple[tuple[float, Detail, str], ...] = (
        (row.intensity / 2, "transfer", ""),
        (row.intensity, "transfer", ""),
        (row.intensity, "none", ", face replaced"),
    )
    for intensity, detail, note in ways:
        cutout, effect = _effect(row, photograph, intensity)
        changed = expressions.put_back(photograph, cutout, effect, detail=detail)
        panels[f"{row.model}, intensity {intensity:g}{note}"] = changed.levels
    return panels


def _parts(row: _Row) -> dict[str, np.ndarray]:
    """Movement, change, and both together."""
    photograph = _photograph(row)
    cutout, effect = _effect(row, photograph, row.intensity)
    moved = effect._replace(change=jnp.zeros_like(effect.change))
    grey = photograph._replace(levels=np.full_like(photograph.levels, 128))
    return {
        "photograph": photograph.levels,
        "its pixels moved": expressions.put_back(photograph, cutout, moved).levels,
        "the change, beside grey": expressions.put_back(
            grey, cutout._replace(part=np.full_like(cutout.part, 128 / 255)), effect._replace(field=None)
        ).levels,
        "both": expressions.put_back(photograph, cutout, effect).levels,
    }


def _photograph(row: _Row) -> Photograph:
    return Photograph(files.to_levels(row.portrait.picture, np.dtype(np.uint8)))


def _effect(row: _Row, photograph: Photograph, intensity: float) -> tuple[Cutout, Effect]:
    saved = pretrained.load(row.model)
    landmarks, size = Landmarks(*row.portrait[1:]), expressions.model_size(saved.model)
    cutout = expressions.cut_out(photograph, landmarks, size, saved.template or FaceTemplate())
    return cutout, expressions.effect(saved.model, cutout, intensity=intensity)


def _figure(rows: Sequence[Mapping[str, np.ndarray]], views: Sequence[tuple[int, int, int]]) -> bytes:
    figure = Figure(figsize=(10, 5.3), layout="constrained")
    axes = figure.subplots(len(rows), 4, squeeze=False)
    for row, panels, (left, top, side) in zip(axes, rows, views, strict=True):
        for axis, (label, levels) in zip(row, panels.items(), strict=True):
            axis.imshow(levels[top : top + side, left : left + side])
            axis.set_title(label, fontsize=10)
            axis.set_axis_off()
    return figures.png(figure, dpi=110)


if __name__ == "__main__":
    script.run(draw)
