"""The tables that a comparison prints."""

from pathlib import Path

import numpy as np

from experiments.comparing import comparison_tables
from experiments.comparing.outcomes import Comparison, Outcome
from experiments.comparing.trials import Trial


def trial(name: str, seed: int, mse: float) -> Trial:
    row = {"method": name, "seed": seed, "mse": mse, "psnr": 20.0, "ssim": 0.8, "num_parameters": 7}
    row |= {"sharpness": 0.5, "fit_seconds": 0.1, "select_seconds": 1.0, "choice": ""}
    return Trial(row, ["a"], np.array([mse]))


def test_a_method_that_was_skipped_on_a_split_is_reported(capsys):
    """It has no standard error, but the other method has one."""
    tried = {"both": [trial("both", 0, 0.004), trial("both", 1, 0.006)], "one": [trial("one", 0, 0.003)]}
    comparison_tables.print_tables(Comparison(Path("runs"), [Outcome({"num_pairs": 5}, tried)], "title", []))
    lines = capsys.readouterr().out.splitlines()
    both, one = (next(line for line in lines if f" {name} " in line) for name in tried)
    assert "5.000 ± 1.000" in both
    assert "3.000" in one
    assert "±" not in one
