"""The programs of docs/examples run, and their results agree with their docstrings."""

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


@pytest.fixture
def numbers(request, capsys) -> dict[str, list[float]]:
    """The first words and last numbers of each line that an example prints."""
    runpy.run_path(str(EXAMPLES / f"{request.param}.py"), run_name="__main__")
    lines = (re.match(r" *(\D+?)((?: +[\d.,]+)+)$", line) for line in capsys.readouterr().out.splitlines())
    return {line[1]: [float(number.replace(",", "")) for number in line[2].split()] for line in lines if line}


def test_every_example_is_tested():
    tested = set(re.findall(r'numbers", \["(\w+)"\]', Path(__file__).read_text()))
    assert tested == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.long
@pytest.mark.parametrize("numbers", ["masked_layers"], indirect=True)
def test_training_together_is_better_than_in_turn(numbers):
    assert numbers["trained together"][0] < 0.67 * numbers["trained in turn"][0]
    assert numbers["two layers together"][0] < 0.97 * numbers["two layers in turn"][0]
    assert numbers["two layers in turn"][0] < numbers["one layer"][0] < 0.8 * numbers["input"][0]


@pytest.mark.long
@pytest.mark.parametrize("numbers", ["many_expressions"], indirect=True)
def test_every_expression_is_learned(numbers):
    learned = {name: values for name, values in numbers.items() if len(values) == 3}
    assert list(learned) == ["happy", "sad", "angry", "surprised", "disgusted", "afraid"]
    for penalty, model, unchanged in learned.values():
        assert 0.05 <= penalty <= 6.4
        assert model < 0.97 * unchanged


@pytest.mark.parametrize("numbers", ["downscaling"], indirect=True)
def test_weights_for_each_pixel_are_better_than_shared_ones(numbers):
    noise = numbers["Variance of the noise:"][0]
    mse = {name: numbers[name][0] for name in ("interpolation", "one for all", "all cells", "masked")}
    assert noise < mse["masked"] < 0.85 * mse["all cells"]
    assert mse["all cells"] < 0.5 * mse["one for all"]
    assert 0.9 * mse["interpolation"] < mse["one for all"] < mse["interpolation"]
    assert 7 < numbers["all cells"][1] / numbers["masked"][1] < 9


@pytest.mark.parametrize("numbers", ["one_file"], indirect=True)
def test_a_service_without_the_library_predicts_the_same(numbers):
    assert numbers["largest difference"][0] < 1e-5
    assert numbers["largest change"][0] > 0.1
    # The weights and little else.
    assert 1 < numbers["size of the file"][0] / numbers["size of the weights"][0] < 1.2
