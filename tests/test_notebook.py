"""Runs the notebook from top to bottom, and compares its outputs with the committed ones.

After a change to it or to its results, run it and save it with its new outputs, from the project's folder:

    .venv/bin/python -m tests.test_notebook

`jupyter execute --inplace` does so too, but adds times and versions.
"""

import copy
import json
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

PATH = Path(__file__).parents[1] / "colab" / "masked_linear_regression.ipynb"

WRITE_PICTURES = """
for name, pictures in (("rest", faces.neutral), ("smile", faces.expressive)):
    (Path({root!r}) / "pictures" / name).mkdir(parents=True)
    for subject, each in zip(faces.subjects, pictures, strict=True):
        images.write(Path({root!r}) / "pictures" / name / (subject + ".png"), each)
shutil.make_archive({root!r} + "/pictures", "zip", {root!r}, "pictures")
"""

REPORT = """
import json
print(json.dumps({
    "history": get_ipython().history_manager.input_hist_raw[1:],
    "errors": errors,
    "other_errors": other_errors,
    "own_error": own_error,
    "window_errors": window_errors,
    "mask_errors": mask_errors,
    "held_out": values.tolist(),
    "descended": descended.tolist(),
    "difference": difference,
    "parameters": count_parameters(model),
    "face": face.shape,
}))
"""


def read() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Runs the notebook in its own folder, as Jupyter does, and returns it with new outputs."""
    client = nbclient.NotebookClient(
        notebook,
        timeout=600,
        resources={"metadata": {"path": str(PATH.parent)}},
        record_timing=False,
        coalesce_streams=True,
    )
    executed = client.execute()
    executed.metadata.language_info = {"name": "python"}
    return executed


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: nbformat.NotebookNode) -> list[str]:
    """The outputs of a cell: texts without numbers; the kind and the size in dots of figures."""
    return [
        re.sub(r"[-+\d.,e]*\d *", "#", output.text)
        if output.output_type == "stream"
        else f"{sorted(output.data)} {output.data['text/plain']}"
        for output in cell.outputs
    ]


def with_field(cell: nbformat.NotebookNode, name: str, value: str) -> nbformat.NotebookNode:
    """A copy of a code cell with another string in one form field."""
    source, count = re.subn(rf'^{name} = ".*?"', f"{name} = {value!r}", cell.source, flags=re.MULTILINE)
    assert count == 1, name
    return nbformat.v4.new_code_cell(source)


@pytest.mark.long
def test_outputs_equal_the_committed_ones(tmp_path):
    committed = read()
    notebook = copy.deepcopy(committed)
    cells = {cell.id: cell for cell in code_cells(committed)}
    own_pairs = with_field(cells["own-pairs"], "data", str(tmp_path / "pictures.zip"))
    own_pairs = with_field(with_field(own_pairs, "source", "rest"), "target", "smile")
    photograph = str(tmp_path / "pictures" / "rest" / "synthetic_0000.png")
    notebook.cells += [
        nbformat.v4.new_code_cell(REPORT),
        nbformat.v4.new_code_cell(WRITE_PICTURES.format(root=str(tmp_path))),
        own_pairs,
        with_field(cells["photograph"], "photograph", photograph),
        nbformat.v4.new_code_cell(REPORT),
    ]
    executed = code_cells(execute(notebook))

    # The committed cells ran in order, and gave the committed outputs.
    report, with_files = (json.loads(executed[index].outputs[-1].text) for index in (len(cells), -1))
    assert report["history"][:-1] == [cell.source for cell in cells.values()]
    assert [cell.execution_count for cell in executed] == list(range(1, len(executed) + 1))
    for cell, again in zip(cells.values(), executed[: len(cells)], strict=True):
        assert shown(again) == shown(cell), cell.id

    # The claims of the text.
    errors = report["errors"]
    assert errors["masked ridge"] < 0.8 * min(errors["copy input"], errors["mean change"], errors["l2 ridge"])
    assert errors["l2 ridge"] > errors["mean change"]
    assert report["other_errors"]["masked ridge"] < 0.7 * report["other_errors"]["copy input"]
    assert report["own_error"] == pytest.approx(errors["masked ridge"], rel=0.01)
    assert report["window_errors"][1] == pytest.approx(errors["masked ridge"], rel=1e-3)
    assert min(report["window_errors"]) == report["window_errors"][1] < 0.8 * report["window_errors"][0]
    assert report["mask_errors"]["both sides"] < 0.99 * report["mask_errors"]["window"]
    assert max(report["held_out"][-1]) < 1.001 * min(report["held_out"][0])
    assert max(report["descended"][-1]) < 1.2 * min(report["descended"][-1])
    assert report["difference"] < 1e-4
    assert report["parameters"] == 120_588

    # A user's zip file with other folder names gives the same.
    assert with_files["own_error"] == pytest.approx(report["own_error"], rel=1e-6)
    assert with_files["face"] == [64, 64, 3]


def test_committed_outputs_are_complete_and_small():
    cells = code_cells(read())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    for output in outputs:
        assert output.output_type in ("stream", "display_data"), "no errors, no stray values"
        assert output.get("name") != "stderr"
    for cell in cells:
        num_figures = sum("image/png" in output.get("data", {}) for output in cell.outputs)
        calls = len(re.findall(r"^(?:plt\.show|draw_faces)\(", cell.source, re.MULTILINE))
        assert num_figures == calls, cell.id
        if re.search(r"^ *print\(", cell.source, re.MULTILINE):
            assert any(output.output_type == "stream" for output in cell.outputs), cell.id
    assert sum("image/png" in output.get("data", {}) for output in outputs) > 10
    assert PATH.stat().st_size < 1_500_000


def test_the_notebook_names_no_machine():
    notebook = read()
    text = "\n".join(
        cell.source + "\n".join(shown(cell) if "outputs" in cell else []) for cell in notebook.cells
    )
    assert not re.search(r"/(home|root|tmp|Users|content)/", text)
    assert str(PATH.parents[1]) not in text
    assert notebook.metadata.language_info == {"name": "python"}
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cell.id), "named, so that a change changes no other line"
        assert not cell.metadata


def test_the_notebook_needs_the_package_only():
    """Colab has neither the scripts nor their packages."""
    text = "\n".join(cell.source for cell in code_cells(read()))
    imported = set(re.findall(r"^ *(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported - {"google", "jax", "matplotlib", "mlr_jax", "numpy", "skimage"} == {
        "importlib",
        "math",
        "pathlib",
        "shlex",
        "shutil",
        "tempfile",
        "time",
    }


if __name__ == "__main__":
    nbformat.write(execute(read()), PATH)
