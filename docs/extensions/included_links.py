"""Adapts links of Markdown files that pages include, such as README.md, whose links are relative to the file.

A link to a file that another page includes becomes a link to that page; other links lead to the file.
"""

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

_LINK = re.compile(r"(\]\()([^)\s:#]+)((?:#[^)\s]*)?\))")
_INCLUDE = re.compile(r"^```\{include\} (\S+)$", re.MULTILINE)


def _pages(docs: Path) -> dict[Path, Path]:
    """The included files, and the pages that include them."""
    return {
        (page.parent / included).resolve(): page
        for page in docs.rglob("*.md")
        for included in _INCLUDE.findall(page.read_text())
    }


def _relocate(app: Sphinx, path: Path, parent: str, content: list[str]) -> None:
    docs = Path(app.srcdir).resolve()
    file, page = (docs / path).resolve(), docs / app.env.docname
    pages = _pages(docs)

    def relocated(match: re.Match[str]) -> str:
        target = (file.parent / match[2]).resolve()
        return match[1] + os.path.relpath(pages.get(target, target), page.parent) + match[3]

    content[0] = _LINK.sub(relocated, content[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls `_relocate` with every included text before it parses it."""
    app.connect("include-read", _relocate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
