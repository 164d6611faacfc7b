"""Tables of landmarks, as spreadsheets and people write them."""

import numpy as np
import pytest

from mlr_jax.checks import InputError
from mlr_jax.datasets.landmarks import COLUMNS, read_landmarks

HEADER = ",".join(("file", *COLUMNS))
VALUES = "203.5,101,246.25,103,208,146,240,145"
EXPECTED = np.array([[203.5, 101], [246.25, 103], [208, 146], [240, 145]], np.float32)


@pytest.fixture
def table(tmp_path):
    def write(text):
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8-sig")
        return read_landmarks(path)

    return write


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\na.png,{VALUES}\n",
        # As a European spreadsheet writes it.
        f"{HEADER};note\na.png,{VALUES};12,5 mm\n".replace(",", ";")
        .replace(".5;", ",5;")
        .replace(".25;", ",25;"),
        f"{HEADER}\na.png,{VALUES}\n".replace(",", "\t"),
        f"{HEADER}\r\na.png,{VALUES}\r\n",
        f" {HEADER}\n a.png , {VALUES} \n".replace(",101,", ", 101 ,").replace("_x,", "_x ,"),
    ],
    ids=["plain", "semicolons", "tabs", "windows", "spaces"],
)
def test_every_way_to_write_it(table, text):
    found = table(text)
    assert list(found) == ["a.png"]
    np.testing.assert_array_equal(found["a.png"], EXPECTED)


def test_a_bad_row_matters_to_its_own_picture_only(table):
    rows = [f"good.png,{VALUES}", f"bad.png,{VALUES}".replace("101", "?"), f"twice.png,{VALUES}"]
    rows += [f"twice.png,{VALUES}".replace("101", "99"), "short.png,1,2", f",{VALUES}"]
    found = table("\n".join((HEADER, *rows)))
    assert list(found) == ["good.png", "bad.png", "twice.png", "short.png"]
    assert "bad.png" in found
    assert "none.png" not in found
    np.testing.assert_array_equal(found["good.png"], EXPECTED)
    for name, words in (
        (
            "bad.png",
            r"table.csv: the row of bad.png \(line 3\) has no number in the column left_eye_y, but '\?'$",
        ),
        ("twice.png", r"table.csv: twice.png has several rows, lines 4, 5; keep one$"),
        ("short.png", r"the row of short.png \(line 6\) has no number in the column right_eye_x$"),
    ):
        with pytest.raises(InputError, match=words):
            found[name]


def test_mistakes_get_one_clear_line(table):
    quoted = f"{HEADER}\na.png,{VALUES}".replace("203.5", '"203,5"')
    with pytest.raises(InputError, match=r"left_eye_x, but '203,5'; write decimals with a point$"):
        table(quoted)["a.png"]
    with pytest.raises(
        InputError, match=r"has no column file; its first line is name, left_eye_x, .* must have"
    ):
        table(f"{HEADER}\na.png,{VALUES}".replace("file", "name"))
