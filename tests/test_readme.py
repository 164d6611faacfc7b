"""What README says is so."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.long
def test_library_use():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["smiling"].shape == names["grinning"].shape == names["test"].neutral.shape
    before = abs(names["test"].neutral - names["test"].expressive).mean()
    assert abs(names["smiling"] - names["test"].expressive).mean() < before
    assert names["prediction"].shape == names["grey"][1].shape


def test_files_exist():
    root = Path(__file__).parents[1]
    names = re.findall(r"(?:docs|tests|experiments|mlr_jax)/[\w/]+\.\w+|\w+\.sh\b", README)
    assert len(names) > 3
    for name in names:
        assert (root / name).is_file(), name
