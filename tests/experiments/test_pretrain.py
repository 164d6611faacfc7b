"""The script that makes the shipped models, on a few drawn faces."""

import csv

import pytest

from mlr_jax import model_file
from mlr_jax.warped_ridge import WarpedModel
from tests.experiments import scripts


@pytest.mark.long
def test_pretrain(tmp_path):
    done = scripts.run(
        "experiments.pretrain",
        "--num_subjects=16",
        "--image_size=32",
        "--channels=1",
        "--window=3",
        "--num_folds=2",
        "--penalties=1e-3,1,1e6",
        f"--output_dir={tmp_path}",
        optimize=False,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 3
    for name, source, target in (("smile", "neutral", "happy"), ("unsmile", "happy", "neutral")):
        saved = model_file.load(tmp_path / f"{name}.npz")
        assert isinstance(saved.model, WarpedModel)
        assert saved.metadata["source"] == source
        assert saved.metadata["target"] == target
        tried = {
            float(row["penalty"]): float(row["mse"])
            for row in rows
            if row["model"] == name and row["kind"] == "warped_ridge"
        }
        assert saved.metadata["penalty"] == min(tried, key=tried.__getitem__)
        (of_input,) = {row["mse_of_input"] for row in rows if row["model"] == name}
        assert min(tried.values()) < float(of_input)
    card = (tmp_path / "README.md").read_text()
    assert "--dataset=synthetic --image_size=32" in card
    assert card.count("| `smile` |") == card.count("| `unsmile` |") == 3
