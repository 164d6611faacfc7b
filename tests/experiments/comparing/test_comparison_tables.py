"""The tables that a comparison prints."""

import csv
from pathlib import Path

import numpy as np

from experiments.comparing import comparison_tables, trials
from experiments.comparing.outcomes import Comparison, Outcome
from experiments.comparing.trials import Trial

TIMES = {"predict_seconds": 0.1, "compile_seconds": 1.0}


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


def test_hyper_parameters_at_the_end_of_their_grid_are_named(tmp_path):
    tried = [
        f"shape={s} rank={r} penalty={p}" for s in ("rbf", "line") for r in (4, 8, 56) for p in (10, 0.1)
    ]
    chosen = trial("ridge", 0, 0.004)
    chosen = chosen._replace(
        row=dict(chosen.row) | {"choice": "shape=rbf rank=56 penalty=0.1"},
        candidates=[(choice, 0.1) for choice in tried],
    )
    inside = chosen._replace(row=dict(chosen.row) | {"seed": 1, "choice": "shape=line rank=8 penalty=10"})
    fixed = chosen._replace(row=dict(chosen.row) | {"seed": 2}, candidates=[(chosen.row["choice"], 0.1)])
    rows = {"ridge": [chosen, inside, fixed]}
    assert [trials.at_end(each) for each in rows["ridge"]] == ["rank penalty", "penalty", ""]
    measured = [each._replace(row=dict(each.row) | TIMES) for each in rows["ridge"]]
    comparison_tables.write(Comparison(tmp_path, [Outcome({}, {"ridge": measured})], "title", []))
    with (tmp_path / "results.csv").open() as file:
        assert [row["at_end"] for row in csv.DictReader(file)] == ["rank penalty", "penalty", ""]
