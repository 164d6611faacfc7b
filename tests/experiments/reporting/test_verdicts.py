"""Verdicts on invented tables."""

from pathlib import Path

import pytest

from experiments.reporting import verdicts
from experiments.reporting.verdicts import OTHERS, OWN
from experiments.running import run_folder


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    run_folder.write_csv(path, tuple(rows[0]), rows)


def compared(
    folder: Path, errors: dict[str, float], p: float = 0.001, run: str = "compare_baselines"
) -> None:
    rows = [
        {
            "method": name,
            "mse_mean": error,
            "mse_se": 0.0001,
            "p_value": "" if name == OWN else p,
            "num_parameters": 100 if name == OWN else 50 if name == "l0_omp" else 5000,
        }
        for name, error in errors.items()
    ]
    write(folder / run / "summary.csv", rows)


def verdict(folder: Path, letter: str) -> verdicts.Verdict:
    return next(each for each in verdicts.judge(folder) if each.claim.startswith(f"({letter})"))


def errors(own: float) -> dict[str, float]:
    return {"copy_input": 0.006, OWN: own} | dict.fromkeys(OTHERS, 0.007) | {"l1_lasso": 0.0055}


def test_missing_experiments_are_not_judged(tmp_path):
    found = verdicts.judge(tmp_path)
    assert [each.verdict for each in found] == ["not tested"] * 6
    assert found[3].evidence == "there is no run of training_size"
    assert verdicts.table(found).count("\n") == 2 + 6


def test_lower_error(tmp_path):
    compared(tmp_path, errors(0.005))
    found = verdict(tmp_path, "a")
    assert found.verdict == "holds"
    assert "5.00 ± 0.10" in found.evidence
    assert "l1_lasso, 5.50 ± 0.10, 10% more" in found.evidence
    compared(tmp_path, errors(0.005), p=0.2)
    assert verdict(tmp_path, "a").verdict == "holds, but may be chance"
    compared(tmp_path, errors(0.0056))
    assert verdict(tmp_path, "a").verdict == "does not hold"


def test_lower_error_mentions_learned_changes(tmp_path):
    compared(tmp_path, errors(0.005))
    compared(tmp_path, errors(0.0056), run="compare_changes")
    assert verdict(tmp_path, "a").verdict == "holds; if the change is learned: does not hold"


def test_fewer_parameters(tmp_path):
    compared(tmp_path, errors(0.005))
    found = verdict(tmp_path, "b")
    assert found.verdict.endswith("reduced_rank and pca_ridge, not against l0_omp")
    assert "l0_omp 0.5" in found.evidence
    compared(tmp_path, {OWN: 0.005, "kernel_ridge": 0.006})
    assert verdict(tmp_path, "b").verdict.startswith("holds; not tried")
    compared(tmp_path, {OWN: 0.005, "l0_omp": 0.006})
    assert verdict(tmp_path, "b").verdict.startswith("does not hold; not tried")


@pytest.mark.parametrize(
    ("stop", "words"),
    [(None, "does not hold"), ("l1_lasso", "holds against l1_lasso, not against l0_omp, l2_ridge")],
)
def test_larger_pictures(tmp_path, stop, words):
    rows = []
    for size in (64, 512):
        for name in (OWN, *OTHERS):
            stopped = "time" if name == stop and size == 512 else ""
            mse = "" if stopped else 0.005
            gib = size**4 * 4 / 2**30 if name == "l2_ridge" else 0.1
            row = {"image_size": size, "method": name, "mse": mse, "dense_gib": gib, "stopped_by": stopped}
            rows.append(row)
    write(tmp_path / "image_size" / "results.csv", rows)
    found = verdict(tmp_path, "c")
    assert found.verdict.startswith(words)
    assert "256 GiB at 512 x 512" in found.evidence
    assert ("l1_lasso up to 64 (then time)" in found.evidence) == (stop is not None)


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (0.001, "holds, but not with 5 pairs"),
        (0.2, "holds, but not with 5 pairs, but may be chance with 20"),
        ("", "holds, but not with 5 pairs, but may be chance with 20"),
    ],
)
def test_few_pairs(tmp_path, p, words):
    rows = []
    for size, own in ((5, 0.008), (20, 0.005)):
        for name, error in errors(own).items():
            rows.append({"num_pairs": size, "method": name, "mse_mean": error, "p_value": p})
    write(tmp_path / "training_size" / "summary.csv", rows)
    found = verdict(tmp_path, "d")
    assert found.verdict == words
    assert "20 pairs 5.00 against 5.50 (l1_lasso)" in found.evidence
    assert "6.00, which is beaten from 20 pairs on" in found.evidence


@pytest.mark.parametrize(
    ("sketches", "words"),
    [
        (0.9, "holds"),
        (1.1, "holds beside the others; on sketches it is worse than no change"),
        (2.5, "does not hold on sketches"),
    ],
)
def test_pictures_unlike_the_training_set(tmp_path, sketches, words):
    rows = []
    for kind, own in (("own test people", 0.8), ("sketches", sketches), ("cat", None)):
        for name in (OWN, *OTHERS):
            relative = "" if own is None else own if name == OWN else 2.0
            row = {"pictures": kind, "method": name, "relative_mse_mean": relative}
            rows.append(row | {"ssim_to_input_mean": 0.7})
    write(tmp_path / "out_of_dataset" / "summary.csv", rows)
    found = verdict(tmp_path, "e")
    assert found.verdict == words
    assert "cat masked_ridge 0.70" in found.evidence
    assert "own test people" not in found.evidence


def test_missing_methods_limit_the_verdict(tmp_path):
    """With one other method the verdict names the missing ones; with none there is no verdict."""
    compared(tmp_path, {OWN: 0.005, "l2_ridge": 0.007})
    left = "; not tried throughout: l0_omp, l1_lasso, kernel_ridge, reduced_rank and pca_ridge"
    assert verdict(tmp_path, "a").verdict == "holds" + left
    assert verdict(tmp_path, "b").verdict == "holds" + left
    for errors in ({OWN: 0.005, "copy_input": 0.006}, {"copy_input": 0.006, "l2_ridge": 0.007}):
        compared(tmp_path, errors)
        for letter in "ab":
            assert verdict(tmp_path, letter).verdict == "not tested"


def test_means_over_different_splits_are_not_compared(tmp_path):
    """Such as those of an interrupted run."""
    compared(tmp_path, errors(0.005))
    path = tmp_path / "compare_baselines" / "summary.csv"
    rows = [{**row, "num_seeds": 4 if row["method"] == "l1_lasso" else 5} for row in verdicts.read(path)]
    write(path, rows)
    assert verdict(tmp_path, "a").verdict == "holds; not tried throughout: l1_lasso"


def test_only_time_and_memory_limit_a_methods_size(tmp_path):
    """A rank above the number of pairs fails at every size, and is no limit; the first limit counts."""
    rows = []
    for size in (64, 128, 256):
        for name in (OWN, "l1_lasso", "pca_ridge"):
            stopped = "rank must be smaller" if name == "pca_ridge" else ""
            if name == "l1_lasso" and size > 64:
                stopped = "time" if size == 128 else "memory"
            mse = "" if stopped else 0.005
            row = {"image_size": size, "method": name, "mse": mse, "dense_gib": "", "stopped_by": stopped}
            rows.append(row)
    path = tmp_path / "image_size" / "results.csv"
    write(path, rows)
    found = verdict(tmp_path, "c")
    assert (
        found.verdict
        == "holds; not tried throughout: l0_omp, l2_ridge, kernel_ridge, reduced_rank and pca_ridge"
    )
    assert "l1_lasso up to 64 (then time)" in found.evidence
    write(path, [row for row in rows if row["method"] != "l1_lasso"])
    assert verdict(tmp_path, "c").verdict == "not tested"


def gans(folder: Path, *, sharpness: float, outside: float, num_parameters: float, near: float = 0.9) -> None:
    relative = {"own test people": near, "sketches": outside, "cat": ""}
    rows = [
        {
            "num_pairs": pairs,
            "pictures": kind,
            "method": name,
            "relative_mse_mean": 1.1 if name == OWN and kind != "cat" else relative[kind],
            "sharpness_mean": 0.3 if name == OWN else sharpness,
            "num_parameters_mean": 100 if name == OWN else num_parameters,
            "fit_seconds_mean": 1,
        }
        for pairs in (10, 74)
        for kind in ("own test people", "sketches", "cat")
        for name in (OWN, "pix2pix", "cyclegan")
    ]
    # The verdict ignores the runs with fewer pairs.
    rows[1]["sharpness_mean"] = 77.0
    write(folder / "gan_comparison" / "summary.csv", rows)


def test_gans_need_sharpness_low_error_and_more_parameters(tmp_path):
    gans(tmp_path, sharpness=0.8, outside=1.4, num_parameters=5000)
    found = verdict(tmp_path, "f")
    assert found.verdict == "holds"
    assert "sketches masked_ridge 1.10, pix2pix 1.40, cyclegan 1.40" in found.evidence
    assert "cat" not in found.evidence
    gans(tmp_path, sharpness=0.2, outside=1.4, num_parameters=500)
    assert verdict(tmp_path, "f").verdict == "not all of it: not photo-realistic near them and far larger"
    # Four times as sharp as the real picture is as wrong as a quarter.
    gans(tmp_path, sharpness=4.0, outside=1.0, num_parameters=5000)
    found = verdict(tmp_path, "f").verdict
    assert found == "not all of it: not photo-realistic near them and worse away from them"
    gans(tmp_path, sharpness=0.1, outside=1.0, num_parameters=5)
    assert verdict(tmp_path, "f").verdict == "does not hold"
    # Noise may be as sharp as a real picture.
    gans(tmp_path, sharpness=0.9, outside=1.4, num_parameters=5000, near=2.8)
    assert verdict(tmp_path, "f").verdict == "not all of it: not photo-realistic near them"


def test_gans_of_several_expressions(tmp_path):
    """A claim about GANs holds if it holds for all of them on all expressions."""
    gans(tmp_path, sharpness=0.8, outside=1.4, num_parameters=5000)

    def expressions(**relative: float) -> None:
        rows = [
            {
                "num_pairs": 90,
                "expression": expression,
                "pictures": kind,
                "method": name,
                "relative_mse_mean": relative.get(name, 0.5) + far + (expression == "sad") / 10,
                "sharpness_mean": 0.3 if name == OWN else 0.9,
                "num_parameters_mean": 100 if name == OWN else 9000,
            }
            for expression in ("happy", "sad")
            for kind, far in (("own test people", 0), ("sketches", 0.5))
            for name in (OWN, "pix2pix", "stargan")
        ]
        write(tmp_path / "gan_expressions" / "summary.csv", rows)

    expressions(masked_ridge=0.4)
    found = verdict(tmp_path, "f")
    assert found.verdict == "holds"
    assert "happy and sad: error as above: own test people masked_ridge 0.45, pix2pix 0.55" in found.evidence
    assert "sketches masked_ridge 0.95, pix2pix 1.05, stargan 1.05; sharpness" in found.evidence
    assert found.evidence.endswith("own test people: masked_ridge 0.30, pix2pix 0.90, stargan 0.90")
    expressions(masked_ridge=0.4, stargan=0.95)
    assert verdict(tmp_path, "f").verdict == "not all of it: not photo-realistic near them"
    expressions(stargan=0.4)
    assert verdict(tmp_path, "f").verdict == "not all of it: not worse away from them"


@pytest.mark.parametrize(
    ("width", "words"), [(64, ""), (16, ". Channels of their first layers, of 64 in the papers: 16")]
)
def test_evidence_on_gans_names_epochs_and_channels(tmp_path, width, words):
    gans(tmp_path, sharpness=0.8, outside=1.4, num_parameters=5000)
    assert "Epochs" not in verdict(tmp_path, "f").evidence
    curve = [("pix2pix", 74, 3), ("pix2pix", 74, 9), ("pix2pix", 10, 70), ("cyclegan", 74, 2)]
    header = ("method", "num_pairs", "epoch", "width")
    write(
        tmp_path / "gan_comparison" / "curves.csv",
        [dict(zip(header, (*row, width), strict=True)) for row in curve],
    )
    expected = "Epochs, of 200 in the papers: pix2pix 9, cyclegan 2" + words
    assert verdict(tmp_path, "f").evidence.endswith(expected)
