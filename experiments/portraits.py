r"""What the pretrained models make of two photographs that scikit-image carries: an astronaut and a cat.

    python -m experiments.portraits

The astronaut smiles, so her smile is taken off; the cat gets one. Writes portraits.png into --output_dir:
each photograph as it is, on the way, at the end, and with the face replaced by the model's output
(`experiments.synthesize --detail=none`) instead of moved and changed.
"""

import io

import matplotlib
import numpy as np
from absl import flags

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from experiments import outsiders, run_folder, script
from mlr_jax import pretrained
from mlr_jax.alignment import FaceTemplate
from mlr_jax.photographs import expressions, files
from mlr_jax.photographs.expressions import Detail, Landmarks
from mlr_jax.photographs.files import Photograph

flags.adopt_module_key_flags(run_folder)

# The photograph, the model, how much of it; left, top and side of what is shown.
_ROWS = (
    (outsiders.astronaut, "unsmile", 1.0, (140, 28, 170)),
    (outsiders.cat, "smile", 2.0, (75, 0, 300)),
)


def draw() -> None:
    """Draws the figure."""
    output_dir = run_folder.chosen("portraits")
    figure, axes = plt.subplots(len(_ROWS), 4, figsize=(10, 5.3), layout="constrained", squeeze=False)
    for row, (load, model, intensity, (left, top, side)) in zip(axes, _ROWS, strict=True):
        portrait = load()
        saved = pretrained.load(model)
        photograph = Photograph(files.to_levels(portrait.picture, np.dtype(np.uint8)))
        panels = {"photograph": photograph.levels}
        ways: dict[str, tuple[float, Detail]] = {
            f"{model}, intensity {intensity / 2:g}": (intensity / 2, "transfer"),
            f"{model}, intensity {intensity:g}": (intensity, "transfer"),
            f"{model}, intensity {intensity:g}, face replaced": (intensity, "none"),
        }
        for label, (amount, detail) in ways.items():
            changed = expressions.synthesize(
                saved.model,
                photograph,
                Landmarks(*portrait[1:]),
                template=saved.template or FaceTemplate(),
                intensity=amount,
                detail=detail,
            )
            panels[label] = changed.levels
        for axis, (label, levels) in zip(row, panels.items(), strict=True):
            axis.imshow(levels[top : top + side, left : left + side])
            axis.set_title(label, fontsize=10)
            axis.set_axis_off()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    run_folder.write_bytes(output_dir / "portraits.png", content.getvalue())
    print(output_dir / "portraits.png")


if __name__ == "__main__":
    script.run(draw)
