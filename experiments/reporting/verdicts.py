"""Judges the claims of the paper (Khan et al., IJCV 2020) by the tables of the experiments."""

import csv
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.reporting import markdown

Row = Mapping[str, str]

OWN = "masked_ridge"
# The regressions that the paper compares with; SVD in two forms.
OTHERS = ("l0_omp", "l1_lasso", "l2_ridge", "kernel_ridge", "reduced_rank", "pca_ridge")
GANS = ("pix2pix", "cyclegan", "stargan", "ganimation")

# "Far fewer" means at most a tenth.
_FAR_FEWER = 10
_SIGNIFICANT = 0.05
# Of GANs: channels of the first layers, and epochs.
_PUBLISHED_WIDTH = 64
_PUBLISHED_EPOCHS = 200
_GIB = 24


class Verdict(NamedTuple):
    """The verdict on one claim.

    Attributes:
      claim: its letter and its words.
      verdict: whether it holds.
      evidence: the numbers for and against it.
    """

    claim: str
    verdict: str
    evidence: str


class _NothingToCompareError(Exception):
    """A table lacks masked ridge or all of the others."""


def judge(folder: Path) -> list[Verdict]:
    """The verdicts on all claims.

    Args:
      folder: holds the folders of the runs, by the names in `reproduce.STEPS`.

    Returns:
      A verdict for each claim: "not tested" if a run, masked ridge or all other regressions are missing. A
      verdict names single regressions that are missing.
    """
    claims: Sequence[tuple[str, Callable[[Path], tuple[str, str]]]] = (
        ("(a) lower error than l0, l1, l2, kernel and SVD regression", _error),
        ("(b) far fewer parameters", _parameters),
        ("(c) larger pictures", _size),
        ("(d) better from few pairs", _few_pairs),
        ("(e) outside its data set", _outside),
        ("(f) GANs: photo-realistic near their training data, failing away from it, far larger", _gans),
    )
    verdicts = []
    for claim, judge_one in claims:
        try:
            verdicts.append(Verdict(claim, *judge_one(folder)))
        except FileNotFoundError as error:
            missing = Path(error.filename).parent.name
            verdicts.append(Verdict(claim, "not tested", f"there is no run of {missing}"))
        except _NothingToCompareError as error:
            verdicts.append(Verdict(claim, "not tested", str(error)))
    return verdicts


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a Markdown table."""
    rows = [(each.claim, f"**{each.verdict}**", each.evidence) for each in verdicts]
    return markdown.table(("claim", "verdict", "numbers"), rows)


def read(path: Path) -> list[Row]:
    """The rows of a table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _error(folder: Path) -> tuple[str, str]:
    verdict, evidence = _lowest(_by_method(read(folder / "compare_baselines" / "summary.csv")))
    try:
        changes = _by_method(read(folder / "compare_changes" / "summary.csv"))
    except FileNotFoundError:
        return verdict, evidence
    other, learned = _lowest(changes)
    if other != verdict:
        verdict += f"; if the change is learned: {other}"
    return verdict, f"{evidence}. If every regression learns the change: {learned}"


def _lowest(rows: Mapping[str, Row]) -> tuple[str, str]:
    """Whether masked ridge has the lowest error of a comparison."""
    reference, others = _compared(rows)
    own = float(reference["mse_mean"])
    best = min(others, key=lambda name: float(others[name]["mse_mean"]))
    below = [name for name, row in others.items() if float(row["mse_mean"]) <= own]
    values = [float(row["p_value"]) for row in others.values() if row["p_value"]]
    verdict = "does not hold" if below else "holds, but may be chance" if _unsure(others) else "holds"
    least = float(others[best]["mse_mean"])
    evidence = (
        f"MSE x 1e3 {_with_error(reference, 'mse')}; the best of the others, {best}, "
        f"{_with_error(others[best], 'mse')}, {_percent(least / own - 1)}"
    )
    evidence += f"; p at most {max(values):.1g}" if values else ""
    return verdict + _untried(others), evidence


def _parameters(folder: Path) -> tuple[str, str]:
    rows = _by_method(read(folder / "compare_baselines" / "summary.csv"))
    reference, others = _compared(rows)
    own = float(reference["num_parameters"])
    ratios = {name: float(row["num_parameters"]) / own for name, row in others.items()}
    far = [name for name, ratio in ratios.items() if ratio >= _FAR_FEWER]
    rest = [name for name in ratios if name not in far]
    if not rest:
        verdict = "holds"
    elif not far:
        verdict = "does not hold"
    else:
        verdict = f"holds against {_list(far)}, not against {_list(rest)}"
    times = ", ".join(f"{name} {ratio:.3g}" for name, ratio in ratios.items())
    evidence = f"{own:,.0f} parameters; the others have so many times as many: {times}"
    return verdict + _untried(others), evidence


def _size(folder: Path) -> tuple[str, str]:
    rows = read(folder / "image_size" / "results.csv")
    sizes = sorted({int(row["image_size"]) for row in rows})
    reached = {
        name: max((int(row["image_size"]) for row in rows if row["method"] == name and row["mse"]), default=0)
        for name in _compared(_by_method(rows))[1].keys() | {OWN}
    }
    stopped: dict[str, str] = {}
    for row in rows:
        if row["stopped_by"]:
            stopped.setdefault(row["method"], row["stopped_by"])
    equal = [name for name in OTHERS if reached.get(name, -1) >= reached[OWN]]
    # Other reasons to stop, such as too few pairs for a rank, do not concern the size.
    beaten = [
        name
        for name in OTHERS
        if name in reached and name not in equal and stopped.get(name, "").startswith(("memory", "time"))
    ]
    if not beaten and not equal:
        raise _NothingToCompareError("neither memory nor time stopped any of the others")
    if not beaten:
        verdict = "does not hold"
    elif not equal:
        verdict = "holds"
    else:
        verdict = f"holds against {_list(beaten)}, not against {_list(equal)} as written here"
    verdict += _untried([*beaten, *equal])
    limits = [f"{name} up to {reached[name]} (then {stopped[name]})" for name in beaten]
    evidence = f"tried to {sizes[-1]} x {sizes[-1]}; masked_ridge reaches {reached[OWN]}"
    evidence += "".join(f"; {limit}" for limit in limits)
    dense = [row for row in rows if row["method"] == "l2_ridge" and row["dense_gib"]]
    too_large = [row for row in dense if float(row["dense_gib"]) > _GIB]
    if too_large:
        first = too_large[0]
        size, gib = first["image_size"], float(first["dense_gib"])
        evidence += f". Stored in full as in the paper, l2's matrix takes {gib:,.0f} GiB at {size} x {size}"
    return verdict, evidence


def _few_pairs(folder: Path) -> tuple[str, str]:
    rows = read(folder / "training_size" / "summary.csv")
    sizes = sorted({int(row["num_pairs"]) for row in rows})
    lost, unsure, untried, pieces = [], [], [], []
    for size in sizes:
        reference, others = _compared(_by_method([row for row in rows if int(row["num_pairs"]) == size]))
        errors = {name: float(row["mse_mean"]) for name, row in others.items()}
        best = min(errors, key=errors.__getitem__)
        own = float(reference["mse_mean"])
        if own >= errors[best]:
            lost.append(str(size))
        elif _unsure(others):
            unsure.append(str(size))
        untried += [name for name in OTHERS if name not in others and name not in untried]
        pieces.append(f"{size} pairs {own * 1e3:.2f} against {errors[best] * 1e3:.2f} ({best})")
    evidence = "MSE x 1e3 against the best of the others: " + ", ".join(pieces)
    copied = [float(row["mse_mean"]) for row in rows if row["method"] == "copy_input"]
    if copied:
        evidence += f"; leaving the picture as it is, {copied[0] * 1e3:.2f}"
        ours = {int(row["num_pairs"]): float(row["mse_mean"]) for row in rows if row["method"] == OWN}
        helpful = [size for size, error in ours.items() if error < copied[0]]
        if helpful:
            evidence += f", which is beaten from {min(helpful)} pairs on"
    if len(lost) == len(sizes):
        return "does not hold", evidence
    verdict = f"holds, but not with {_list(lost)} pairs" if lost else "holds"
    if unsure:
        verdict += f", but may be chance with {_list(unsure)}"
    if untried:
        verdict += f"; not tried throughout: {_list(untried)}"
    return verdict, evidence


def _outside(folder: Path) -> tuple[str, str]:
    rows = read(folder / "out_of_dataset" / "summary.csv")
    kinds = list(dict.fromkeys(row["pictures"] for row in rows if row["relative_mse_mean"]))
    lost, useless, pieces = [], [], []
    for kind in kinds:
        if kind == "own test people":
            continue
        reference, compared = _compared(_by_method([row for row in rows if row["pictures"] == kind]))
        others = {name: float(row["relative_mse_mean"]) for name, row in compared.items()}
        best = min(others, key=others.__getitem__)
        own = float(reference["relative_mse_mean"])
        if own >= others[best]:
            lost.append(kind)
        if own >= 1:
            useless.append(kind)
        pieces.append(f"{kind} {own:.2f} against {others[best]:.2f} ({best})")
    evidence = "error relative to leaving the picture as it is, against the best of the others: "
    evidence += ", ".join(pieces)
    left = [row for row in rows if not row["relative_mse_mean"] and row["method"] in (OWN, "l2_ridge")]
    if left:
        shares = (f"{row['pictures']} {row['method']} {float(row['ssim_to_input_mean']):.2f}" for row in left)
        evidence += ". SSIM to the input where no truth is known: " + ", ".join(shares)
    untried = _untried(_compared(_by_method(rows))[1])
    if lost:
        return f"does not hold on {_list(lost)}{untried}", evidence
    if useless:
        verdict = f"holds beside the others; on {_list(useless)} it is worse than no change"
        return verdict + untried, evidence
    return "holds" + untried, evidence


def _gans(folder: Path) -> tuple[str, str]:
    """Whether GANs are more real on their own test people, worse than masked ridge elsewhere, and larger.

    More real means a sharpness nearer to a real picture's, with an error below the input's: noise is sharp,
    too.
    """
    kinds, most = _by_kind(read(folder / "gan_comparison" / "summary.csv"))
    near = kinds["own test people"]
    gans = [name for name in GANS if name in near]
    if OWN not in near or not gans:
        raise _NothingToCompareError(f"the run has no result of {OWN}, or of no GAN")
    expressions = _by_expression(folder / "gan_expressions" / "summary.csv")
    every = [_gan_parts(each) for each in (kinds, *expressions.values())]
    failing = [part for part in every[0] if not all(parts[part] for parts in every)]
    verdict = "holds" if not failing else f"not all of it: not {_list(failing)}"
    if len(failing) == len(every[0]):
        verdict = "does not hold"
    shown = [OWN, *(name for name in ("warped_ridge",) if name in near), *gans]
    pieces = [
        f"{kind} {', '.join(f'{name} {float(each[name][column]):.2f}' for name in shown)}"
        for kind, each in kinds.items()
        for column in ("relative_mse_mean",)
        if each[OWN][column]
    ]
    evidence = "error relative to leaving the picture as it is: " + "; ".join(pieces)
    evidence += ". Sharpness on own test people: " + ", ".join(
        f"{name} {float(near[name]['sharpness_mean']):.2f}" for name in shown
    )
    evidence += ". Parameters: " + ", ".join(
        f"{name} {float(near[name]['num_parameters_mean']):,.0f}" for name in shown
    )
    evidence += ". Seconds of training: " + ", ".join(
        f"{name} {_seconds(float(near[name]['fit_seconds_mean']))}" for name in shown
    )
    evidence += _training(folder / "gan_comparison" / "curves.csv", most, gans)
    return verdict, evidence + _of_expressions(expressions)


def _by_kind(rows: Sequence[Row]) -> tuple[dict[str, dict[str, Row]], int]:
    """Kind of picture -> method -> its row with the most pairs; and the number of these pairs."""
    most = max(int(row["num_pairs"]) for row in rows)
    kinds: dict[str, dict[str, Row]] = {}
    for row in rows:
        if int(row["num_pairs"]) == most:
            kinds.setdefault(row["pictures"], {})[row["method"]] = row
    return kinds, most


def _by_expression(path: Path) -> dict[str, dict[str, dict[str, Row]]]:
    """Expression -> kind of picture -> method -> its row; empty if there is no such run."""
    rows = read(path) if path.exists() else []
    names = dict.fromkeys(row["expression"] for row in rows)
    return {name: _by_kind([row for row in rows if row["expression"] == name])[0] for name in names}


def _gan_parts(kinds: Mapping[str, Mapping[str, Row]]) -> dict[str, bool]:
    """The parts of the claim, and whether each holds of all GANs."""
    near = kinds["own test people"]
    gans = [name for name in GANS if name in near]
    # Too sharp is not photo-realistic, either.
    distance = {name: abs(math.log(max(float(near[name]["sharpness_mean"]), 1e-6))) for name in (OWN, *gans)}
    return {
        "photo-realistic near them": all(
            distance[name] < distance[OWN] and float(near[name]["relative_mse_mean"]) < 1 for name in gans
        ),
        "worse away from them": all(
            float(rows[name]["relative_mse_mean"]) > float(rows[OWN]["relative_mse_mean"])
            for kind, rows in kinds.items()
            if kind != "own test people" and rows[OWN]["relative_mse_mean"]
            for name in gans
        ),
        "far larger": all(
            float(near[name]["num_parameters_mean"]) >= _FAR_FEWER * float(near[OWN]["num_parameters_mean"])
            for name in gans
        ),
    }


def _of_expressions(expressions: Mapping[str, Mapping[str, Mapping[str, Row]]]) -> str:
    """Means over several expressions of synthetic people."""
    if not expressions:
        return ""
    views = list(expressions.values())
    kinds = [kind for kind, rows in views[0].items() if rows[OWN]["relative_mse_mean"]]
    shown = [name for name in (OWN, "warped_ridge", *GANS) if name in views[0]["own test people"]]

    def mean(kind: str, name: str, column: str) -> float:
        return sum(float(view[kind][name][column]) for view in views) / len(views)

    def listed(kind: str, column: str) -> str:
        return ", ".join(f"{name} {mean(kind, name, column):.2f}" for name in shown)

    pieces = "; ".join(f"{kind} {listed(kind, 'relative_mse_mean')}" for kind in kinds)
    return (
        f". Synthetic people, means over {_list(list(expressions))}: error as above: {pieces}; sharpness on "
        f"own test people: {listed('own test people', 'sharpness_mean')}"
    )


def _seconds(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _training(path: Path, num_pairs: int, gans: Sequence[str]) -> str:
    """The epochs of the GANs, and their widths where these are not the papers'."""
    if not path.exists():
        return ""
    seen = dict.fromkeys(gans, 0.0)
    widths = set()
    for row in read(path):
        if int(row["num_pairs"]) == num_pairs and row["method"] in seen:
            seen[row["method"]] = max(seen[row["method"]], float(row["epoch"]))
            widths.add(row["width"])
    said = f". Epochs, of {_PUBLISHED_EPOCHS} in the papers: "
    said += ", ".join(f"{name} {num:.0f}" for name, num in seen.items())
    if widths - {str(_PUBLISHED_WIDTH)}:
        said += (
            f". Channels of their first layers, of {_PUBLISHED_WIDTH} in the papers: {_list(sorted(widths))}"
        )
    return said


def _compared(rows: Mapping[str, Row]) -> tuple[Row, dict[str, Row]]:
    """Masked ridge's row, and those of the other regressions with as many splits.

    A mean over fewer splits, as after a stopped run, is over other people.
    """
    splits = rows.get(OWN, {}).get("num_seeds")
    others = {name: rows[name] for name in OTHERS if name in rows and rows[name].get("num_seeds") == splits}
    if OWN not in rows or not others:
        missing = OWN if OWN not in rows else "any of " + ", ".join(OTHERS)
        raise _NothingToCompareError(f"the run has no result of {missing}, or not of all splits")
    return rows[OWN], others


def _unsure(others: Mapping[str, Row]) -> bool:
    """Whether one of the differences may be chance."""
    return any(not row["p_value"] or float(row["p_value"]) > _SIGNIFICANT for row in others.values())


def _untried(tried: Collection[str]) -> str:
    """Names the paper's regressions that the run lacks."""
    missing = [name for name in OTHERS if name not in tried]
    return f"; not tried throughout: {_list(missing)}" if missing else ""


def _by_method(rows: Sequence[Row]) -> dict[str, Row]:
    return {row["method"]: row for row in rows}


def _with_error(row: Row, column: str) -> str:
    mean, error = float(row[f"{column}_mean"]), row[f"{column}_se"]
    return f"{mean * 1e3:.2f}" + (f" ± {float(error) * 1e3:.2f}" if error else "")


def _percent(excess: float) -> str:
    return f"{abs(excess):.0%} {'more' if excess >= 0 else 'less'}"


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
