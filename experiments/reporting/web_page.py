"""Parts of a web page in one file: elements, sortable tables, pictures, the document.

Style and script are in web_page.html.
"""

import base64
import html
import math
import re
import string
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

Content = ET.Element | str

_CSS_PIXELS_PER_INCH = 96
# A cell of more characters is broken into lines.
_MANY_CHARACTERS = 36
_SIGNIFICANT_DIGITS = 4
# From here on with thousands separators.
_LARGE_NUMBER = 10_000
# Texts with a leading zero, like 007, or with more digits than a float holds, are names.
_NUMBER = re.compile(r"[-+]?(0|[1-9]\d{0,14})(\.\d{1,20})?(e[-+]?\d{1,2})?|[-+]?inf|nan", re.IGNORECASE)


def document(title: str, body: Sequence[ET.Element]) -> str:
    """The whole page, which is self-contained."""
    template = string.Template(Path(__file__).with_suffix(".html").read_text())
    content = "\n".join(ET.tostring(each, encoding="unicode", method="html") for each in body)
    return template.substitute(title=html.escape(title), body=content)


def element(tag: str, *children: Content, **attributes: str) -> ET.Element:
    """An element; texts are escaped when the page is written, so none can become HTML.

    Args:
      tag: its name.
      *children: elements and texts, in their order.
      **attributes: an underscore at the end of a name is dropped (`class_`), others are hyphens.
    """
    names = {name: name.rstrip("_").replace("_", "-") for name in attributes}
    made = ET.Element(tag, {names[name]: value for name, value in attributes.items()})
    for child in children:
        if isinstance(child, ET.Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def breakable(name: str) -> ET.Element:
    """A name that may break after an underscore, a full stop or a slash."""
    first, *others = re.split(r"(?<=[_./])(?=.)", name)
    return element("span", first, *(part for other in others for part in (element("wbr"), other)))


def names_and_values(values: Mapping[str, Content], *, class_: str) -> ET.Element:
    """A list of names, each with its value."""
    pairs = [
        element("div", element("dt", breakable(name)), element("dd", value)) for name, value in values.items()
    ]
    return element("dl", *pairs, class_=class_)


def picture(name: str, content: bytes, media_type: str, inches: tuple[float, float] | None) -> ET.Element:
    """A picture inside the page, in its drawn size if there is room."""
    size = {}
    if inches is not None:
        width, height = (str(round(_CSS_PIXELS_PER_INCH * each)) for each in inches)
        size = {"width": width, "height": height}
    source = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    return element("div", element("img", src=source, alt=name, **size), class_="picture")


def table(name: str, header: Sequence[str], rows: Sequence[Sequence[Content]]) -> ET.Element:
    """A table, its numbers at the right, in a box that scrolls if it is too wide.

    Args:
      name: for screen readers.
      header: the columns' names.
      rows: as many cells each. A column of numbers is shown with few digits; the title of a cell is its full
        text.

    Returns:
      The box.
    """
    columns = [[row[place] for row in rows] for place in range(len(header))]
    numbers = [_shown_numbers(column) for column in columns]
    heads = [
        element("th", breakable(heading), scope="col", **({"class": "number"} if shown else {}))
        for heading, shown in zip(header, numbers, strict=True)
    ]
    lines = []
    for index, row in enumerate(rows):
        cells = [
            _number_cell(cell, shown[index]) if shown else _cell(cell)
            for cell, shown in zip(row, numbers, strict=True)
        ]
        lines.append(element("tr", *cells))
    # For print, where more columns have smaller letters.
    whole = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *lines),
        style=f"--columns: {len(header)}",
    )
    return element("div", whole, class_="scroll", role="region", tabindex="0", aria_label=f"table {name}")


def _cell(content: Content) -> ET.Element:
    cell = element("td", content)
    if len("".join(cell.itertext())) > _MANY_CHARACTERS:
        cell.set("class", "long")
    return cell


def _number_cell(written: Content, shown: str) -> ET.Element:
    cell = element("td", shown, class_="number")
    if shown != written:
        cell.set("title", str(written))
    return cell


def _shown_numbers(cells: Sequence[Content]) -> list[str] | None:
    """A column's numbers with few digits, decimal points aligned if they are of similar size.

    Args:
      cells: as written; empty ones remain empty.

    Returns:
      As many texts; None if a cell is not a number, or all are empty.
    """
    written = [cell for cell in cells if isinstance(cell, str)]
    if len(written) < len(cells) or not any(written):
        return None
    if not all(_NUMBER.fullmatch(cell) for cell in written if cell):
        return None
    form = _number_format([cell.lower() for cell in written if cell])
    return [format(float(cell), form) if cell else "" for cell in written]


def _number_format(written: Sequence[str]) -> str:
    decimals = max(len(cell.partition(".")[2]) for cell in written)
    sizes = [abs(float(cell)) for cell in written]
    sizes = [size for size in sizes if math.isfinite(size) and size > 0] or [1]
    separator = "," if max(sizes) >= _LARGE_NUMBER else ""
    if any("e" in cell for cell in written):
        return f".{_SIGNIFICANT_DIGITS}g"
    if decimals == 0:
        return f"{separator}.0f"
    decimals = min(decimals, max(0, _SIGNIFICANT_DIGITS - 1 - math.floor(math.log10(max(sizes)))))
    # The smallest number keeps two digits.
    if min(sizes) * 10**decimals < 10:
        return f".{_SIGNIFICANT_DIGITS}g"
    return f"{separator}.{decimals}f"
