"""A page of runs, from its command line, parsed as HTML."""

import base64
import csv
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from experiments.reporting import recorded_runs
from experiments.running import run_folder
from mlr_jax import images
from mlr_jax.checks import InputError

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>alert('1')</script><img src=\"http://x\" onerror=alert(1)>&amp;"


def run(*flags: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments.report", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


class Reader(HTMLParser):
    """Builds a tree of the page, and finds elements that do not end where they should."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = ET.TreeBuilder()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tree.start(tag, {name: value or "" for name, value in attrs})
        if tag in ("meta", "img", "wbr"):
            self.tree.end(tag)
        else:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.tree.end(tag)

    def handle_data(self, data):
        if self.open:
            self.tree.data(data)


def read(path: Path) -> ET.Element:
    reader = Reader()
    reader.feed(path.read_text())
    reader.close()
    assert not reader.open
    return reader.tree.close()


def text(element: ET.Element) -> str:
    return "".join(element.itertext())


def section(page: ET.Element, name: str) -> ET.Element:
    """The section that the overview links to under this name."""
    (link,) = (each for each in page.iter("a") if text(each) == name)
    (found,) = (
        each
        for each in page.iter("section")
        if any(inner.get("id") == link.get("href", "")[1:] for inner in each.iter())
    )
    return found


def table(part: ET.Element, name: str) -> list[list[str]]:
    """The cells of a table as text, the header first."""
    (box,) = (each for each in part.iter("div") if each.get("aria-label") == f"table {name}")
    return [[cell.get("title") or text(cell) for cell in row] for row in box.iter("tr")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, module_rng) -> Path:
    """Two whole runs, one of them in a deeper folder, a hostile one, and four damaged ones."""
    root = tmp_path_factory.mktemp("runs")
    names = ("baselines", "deep/er/sizes", "hostile", "no_configuration", "no_json", "no_object", "cut")
    for name in names:
        (root / name).mkdir(parents=True)
    configuration = {
        "flags": {"dataset": "synthetic", "data_dir": None, "methods": ["a", "b"], "seed": 3, "fast": True},
        "command": ["compare_baselines.py", "--seed=3", "--methods=a,b"],
        "started": "2024-05-06T07:08:09+00:00",
        "versions": {"jax": "1.2.3"},
        "device": {"platform": "cpu", "kind": "abacus", "count": 1, "machine": "wood", "cores": 2},
        "num_train": 90,
        "num_test": 10,
        "image_shape": [8, 8, 1],
        "grids": {"a": {"window": [1, 3]}},
        "skipped": {"c": "c needs more people"},
    }
    run_folder.start(root / "baselines", configuration, outputs=())
    errors = module_rng.random(200)
    rows = [{"method": "a", "subject": f"{i:03}", "mse": float(each)} for i, each in enumerate(errors)]
    run_folder.write_csv(root / "baselines" / "errors.csv", ("method", "subject", "mse"), rows)
    run_folder.write_csv(root / "baselines" / "abc.csv", ("x",), [{"x": "one"}])
    run_folder.write_csv(root / "baselines" / "results.csv", ("method", "subject", "mse"), rows[:2])
    run_folder.write_csv(
        root / "baselines" / "summary.csv",
        ("method", "mse_mean", "num_parameters", "p_value"),
        [
            {"method": "a", "mse_mean": 0.00427219, "num_parameters": 50343936, "p_value": ""},
            {"method": "b", "mse_mean": 0.0123, "num_parameters": 0, "p_value": 1.234567e-9},
        ],
    )
    for name in ("summary.png", "faces.png"):
        images.write(root / "baselines" / name, module_rng.random((4, 6, 3)))
    (root / "baselines" / "model.npz").write_bytes(b"weights")
    other = {"experiment": "image_size_of_old", "flags": {}, "command": ["image_size.py"]}
    run_folder.start(root / "deep/er/sizes", other, outputs=())
    (root / "deep/er/sizes" / "curve.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    hostile = {"experiment": HOSTILE, "flags": {HOSTILE: HOSTILE}, HOSTILE: HOSTILE, "command": [HOSTILE]}
    run_folder.start(root / "hostile", hostile, outputs=())
    run_folder.write_csv(root / "hostile" / "errors.csv", (HOSTILE,), [{HOSTILE: HOSTILE}])
    (root / "no_configuration" / "results.csv").write_text("method,mse\na,1\n")
    (root / "no_json" / "config.json").write_text('{"flags": ')
    (root / "no_json" / "results.csv").write_text("method,mse\na,0.5\n")
    (root / "no_object" / "config.json").write_text("[1, 2]")
    run_folder.start(root / "cut", {}, outputs=())
    (root / "cut" / "errors.csv").write_text("method,mse\na,1\nb\n")
    (root / "cut" / "empty.csv").write_text("")
    (root / "cut" / "latin.csv").write_bytes(b"caf\xe9\n")
    (root / "cut" / "faces.png").write_bytes((root / "baselines" / "faces.png").read_bytes()[:60])
    (root / "cut" / "curve.svg").write_text("<svg")
    (root / "cut" / "whole.csv").write_text("n\n7\n")
    return root


@pytest.fixture(scope="module")
def module_rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def page(runs) -> ET.Element:
    output = runs / "report.html"
    done = run(f"--runs={runs}", f"--title={HOSTILE}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"7 runs: {output}")
    assert "cut: errors.csv is damaged: line 3 has 1 of 2 cells" in done.stdout
    assert not list(runs.glob(".report*")), "the partial file is gone"
    return read(output)


def test_every_run_is_listed_and_linked(page):
    overview = next(page.iter("table"))
    names = [text(each) for each in overview.iter("a")]
    assert names == [
        "baselines",
        "cut",
        "deep/er/sizes",
        "hostile",
        "no_configuration",
        "no_json",
        "no_object",
    ]
    assert len({section(page, name) for name in names}) == len(names)
    identifiers = [each.get("id") for each in page.iter() if each.get("id")]
    assert len(set(identifiers)) == len(identifiers)


def test_every_cell_is_shown(runs, page):
    count = 0
    for path in runs.rglob("*.csv"):
        if path.parent.name != "cut":
            with path.open() as file:
                expected = list(csv.reader(file))
            part = section(page, path.parent.relative_to(runs).as_posix())
            assert table(part, path.name) == expected
            count += 1
    assert count == 7


def test_numbers_have_few_digits_and_are_aligned(page):
    (box,) = (each for each in page.iter("div") if each.get("aria-label") == "table summary.csv")
    shown = [[text(cell) for cell in row] for row in box.iter("tr")]
    assert shown[1] == ["a", "0.00427", "50,343,936", ""]
    assert shown[2] == ["b", "0.01230", "0", "1.235e-09"]
    assert [cell.get("class") for cell in next(box.iter("tr"))] == [None, "number", "number", "number"]


def test_a_section_describes_its_run(page):
    words = text(section(page, "baselines"))
    assert "How close does each method come to the real expression?" in words
    assert "2024-05-06 07:08 UTC" in words
    assert "python -m experiments.compare_baselines --seed=3 --methods=a,b" in words
    assert "synthetic, 8 x 8 x 1, 90 pairs to train, 10 to test" in words
    assert "abacus, wood, 2 cores" in words
    assert "skipped: c needs more people" in words
    assert "model.npz" in words
    (heading,) = section(page, "deep/er/sizes").iter("h2")
    assert text(heading).startswith("image_size_of_old")


def test_flags_and_versions_are_folded(page):
    (folded,) = (each for each in section(page, "baselines").iter("details") if each.get("class") != "long")
    values = dict(zip(map(text, folded.iter("dt")), map(text, folded.iter("dd")), strict=True))
    assert "open" not in folded.attrib
    assert values["dataset"] == "synthetic"
    assert values["data_dir"] == "null"
    assert values["methods"] == "a, b"
    assert (values["seed"], values["fast"], values["jax"], values["kind"]) == ("3", "true", "1.2.3", "abacus")
    assert values["a"] == '{"window": [1, 3]}'
    assert values["started"] == "2024-05-06T07:08:09+00:00"


def test_figures_are_embedded_whole(runs, page):
    for name in ("baselines/summary.png", "baselines/faces.png", "deep/er/sizes/curve.svg"):
        part = section(page, Path(name).parent.as_posix())
        (picture,) = (each for each in part.iter("img") if each.get("alt") == Path(name).name)
        media_type, _, content = picture.get("src", "").partition(";base64,")
        assert media_type == {".png": "data:image/png", ".svg": "data:image/svg+xml"}[Path(name).suffix]
        assert base64.b64decode(content) == (runs / name).read_bytes()


def test_summaries_come_first_and_long_tables_last(page):
    part = section(page, "baselines")
    names = [
        each.get("alt") or each.get("aria-label", "").removeprefix("table ")
        for each in part.iter()
        if each.tag == "img" or each.get("role") == "region"
    ]
    assert names == ["summary.csv", "summary.png", "results.csv", "abc.csv", "faces.png", "errors.csv"]
    (long,) = (each for each in part.iter("details") if each.get("class") == "long")
    assert text(next(long.iter("summary"))) == "errors.csv 200 rows"
    assert len(list(long.iter("tr"))) == 201


def test_the_page_refers_to_nothing_outside(page):
    for each in page.iter():
        for name, value in each.attrib.items():
            if name in ("src", "href"):
                assert re.match(r"data:image/|#", value), value
            assert not name.startswith("on")
        assert each.tag not in ("link", "iframe", "object", "base")
    (style,) = page.iter("style")
    assert "url(" not in text(style)
    assert "@import" not in text(style)


def test_names_are_escaped(page):
    assert len(list(page.iter("script"))) == 1, "the page's own"
    assert text(next(page.iter("title"))) == text(next(page.iter("h1"))) == HOSTILE
    part = section(page, "hostile")
    assert table(part, "errors.csv") == [[HOSTILE], [HOSTILE]]
    assert not list(part.iter("img"))
    # The heading, two cells of the table, and two names and four values of config.json.
    assert text(part).count(HOSTILE) == 9


def test_damage_is_reported_and_the_rest_is_shown(page):
    def problems(name: str) -> list[str]:
        return [text(each) for each in section(page, name).iter("p") if each.get("class") == "problem"]

    assert problems("no_configuration") == ["config.json is missing, so it is not known what this run was"]
    assert problems("no_json")[0].startswith("config.json is damaged: Expecting value")
    assert problems("no_object") == ["config.json is damaged: it holds no object of names and values"]
    assert table(section(page, "no_json"), "results.csv")[1] == ["a", "0.5"]
    cut = problems("cut")
    assert cut[0] == "empty.csv is empty"
    assert cut[1].startswith("latin.csv is damaged: 'utf-8' codec")
    assert cut[2] == "errors.csv is damaged: line 3 has 1 of 2 cells; it is left out from there"
    assert cut[3].startswith("curve.svg is damaged: ")
    assert cut[4:] == ["faces.png is damaged: it cannot be decoded as PNG"]
    assert table(section(page, "cut"), "errors.csv") == [["method", "mse"], ["a", "1"]]
    assert table(section(page, "cut"), "whole.csv") == [["n"], ["7"]]
    assert "errors.csv is damaged" in text(next(page.iter("table"))), "in the overview too"


def test_the_folder_itself_may_be_a_run(runs, page):
    (single,) = recorded_runs.find(runs / "baselines")
    assert single.name == "baselines"
    assert single.others == ["model.npz"]
    assert single.configuration == json.loads((runs / "baselines" / "config.json").read_text())


def test_folders_that_hold_no_run_are_ignored(tmp_path):
    for folder in ("run/cache", ".hidden", "pictures"):
        (tmp_path / folder).mkdir(parents=True)
    run_folder.start(tmp_path / "run", {}, outputs=())
    (tmp_path / "run" / "cache" / "keys.csv").write_text("x\n")
    (tmp_path / ".hidden" / "config.json").write_text("{}")
    images.write(tmp_path / "pictures" / "face.png", np.zeros((2, 2, 3)))
    assert [each.name for each in recorded_runs.find(tmp_path)] == ["run"]


def test_mistakes_get_one_line(tmp_path):
    done = run(f"--runs={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: --runs: there is no run in {tmp_path}; ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
    done = run(f"--runs={tmp_path}", f"--output_dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr == "error: --output_dir: a report is one file; name it with --output\n"
    with pytest.raises(InputError, match="--runs: there is no folder"):
        recorded_runs.find(tmp_path / "nowhere")
