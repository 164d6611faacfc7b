import io

import imageio.v3 as iio
import numpy as np
import pytest
from scipy import stats

from experiments.comparing import summary
from experiments.comparing.summary import Trial
from experiments.reporting import averages


def trial(errors: dict[str, float], seed: int = 0) -> Trial:
    values = np.array(list(errors.values()))
    row = {
        "seed": seed,
        "mse": float(values.mean()),
        "psnr": 20.0,
        "ssim": 0.8,
        "sharpness": 0.5,
        "num_parameters": 7,
        "fit_seconds": 0.1,
        "select_seconds": 1.0,
    }
    return Trial(row, list(errors), values)


TRIALS = {
    "good": [trial({"a": 1.0, "b": 2.0}), trial({"b": 4.0, "c": 3.0}, 1)],
    "bad": [trial({"a": 1.5, "b": 3.0}), trial({"b": 5.0, "c": 3.1}, 1)],
}


def test_settings_over_splits():
    rows = [
        {"way": "a", "seed": 0, "mse": 1.0, "ssim": ""},
        {"way": "b", "seed": 0, "mse": 5.0, "ssim": 0.5},
        {"way": "a", "seed": 1, "mse": 2.0, "ssim": ""},
    ]
    a, b = averages.over_splits(rows, ("way",), ("mse", "ssim"))
    expected = {"way": "a", "num_seeds": 2, "mse_mean": 1.5, "mse_se": pytest.approx(0.5)}
    assert a == expected | {"ssim_mean": "", "ssim_se": ""}
    assert b == {"way": "b", "num_seeds": 1, "mse_mean": 5.0, "mse_se": "", "ssim_mean": 0.5, "ssim_se": ""}


def test_means_and_standard_errors_are_over_splits():
    good, bad = summary.summarize(TRIALS, "good")
    assert tuple(good) == summary.HEADER
    assert good["mse_mean"] == pytest.approx((1.5 + 3.5) / 2)
    assert good["mse_se"] == pytest.approx(np.std([1.5, 3.5], ddof=1) / np.sqrt(2))
    assert good["psnr_se"] == 0
    assert bad["num_seeds"] == 2


def test_the_test_is_paired_by_person():
    """Person b is tested twice, and counts once."""
    good, bad = summary.summarize(TRIALS, "good")
    differences = np.array([0.5, 1.0, 0.1])
    assert bad["num_people"] == 3
    assert bad["mse_minus_reference"] == pytest.approx(differences.mean())
    assert bad["mse_minus_reference_se"] == pytest.approx(differences.std(ddof=1) / np.sqrt(3))
    assert bad["p_value"] == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert bad["reference"] == "good"
    assert good["p_value"] == good["reference"] == ""


def test_without_a_reference_nothing_is_compared():
    for row in summary.summarize(TRIALS, "other"):
        assert row["p_value"] == row["mse_minus_reference"] == ""


def test_one_split_has_no_standard_error():
    good, same = summary.summarize({"good": TRIALS["good"][:1], "same": TRIALS["good"][:1]}, "good")
    assert good["mse_se"] == ""
    assert same["mse_minus_reference"] == 0
    assert same["p_value"] == "", "no difference, no test"


def test_draws_a_figure():
    small = iio.imread(io.BytesIO(summary.draw({"good": TRIALS["good"]}, "one")))
    large = iio.imread(io.BytesIO(summary.draw(TRIALS | {"copy_input": TRIALS["bad"][:1]}, "three")))
    assert small[..., :3].std() > 10
    assert large.shape[0] > small.shape[0]


def test_only_splits_that_both_have_are_compared():
    """After an interruption the reference may have a split more."""
    _, bad = summary.summarize({"good": TRIALS["good"], "bad": TRIALS["bad"][:1]}, "good")
    assert bad["num_people"] == 2
    assert bad["mse_minus_reference"] == pytest.approx((0.5 + 1.0) / 2)
