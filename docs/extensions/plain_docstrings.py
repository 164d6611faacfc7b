"""Converts plain docstrings to the reStructuredText that Sphinx expects.

In plain text, a name or a shape stands between backticks, a formula is an indented block, and `|` and `*` are
ordinary characters. The conversion comes before Napoleon reads the sections.

The fields of a NamedTuple stay in its docstring, as a separate list.
"""

import inspect
import re
from typing import Any

from jax.typing import ArrayLike, DTypeLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

# Aliases of types, which Python shows by their long definitions.
_LONG_TYPES = {
    stringify_annotation(ArrayLike, "smart"): "ArrayLike",
    stringify_annotation(DTypeLike, "smart"): "DTypeLike",
}
_NAME = re.compile(r"[A-Za-z_][\w.]*")


def convert(text: str, *, not_names: frozenset[str] = frozenset()) -> str:
    """The reStructuredText of a plain docstring, for Napoleon.

    Args:
      text: of the docstring, not indented.
      not_names: names between backticks that get no link, such as arguments.
    """
    paragraphs = re.split(r"\n{2,}", text.strip("\n"))
    return "\n\n".join(_convert_paragraph(each, not_names) for each in paragraphs) + "\n"


def _convert_paragraph(text: str, not_names: frozenset[str]) -> str:
    if text.startswith("    "):
        # Sections indent by two, so this is a formula, a table or code.
        return "::\n\n" + text
    if text.startswith(">>>"):
        return text
    head, colon, _ = text.partition(":")
    if head in ("Returns", "Yields") and colon:
        # Napoleon takes text before a colon for a type; here the type is in the signature.
        text = re.sub(r"\n( +)", r"\n\1: ", text, count=1)
    if head == "Attributes" and colon:
        # Napoleon's own section of attributes repeats the types.
        text = text.replace("Attributes:", "Fields:", 1)
    # Every other part is between backticks.
    parts = re.split(r"`([^`]+)`", text)
    parts[::2] = map(_escape, parts[::2])
    parts[1::2] = [_link(part, not_names) for part in parts[1::2]]
    return "".join(parts)


def _escape(text: str) -> str:
    """Escapes prose, whose only markup is *emphasis*."""
    pieces = re.split(r"((?<!\w)\*\w[\w\s-]*\w\*(?!\w))", text)
    pieces[::2] = [re.sub(r"[*|\\]|_(?!\w)", r"\\\g<0>", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _link(text: str, not_names: frozenset[str]) -> str:
    """A reference, which looks like code where nothing has this name."""
    if not _NAME.fullmatch(text) or text in not_names:
        return f"``{text}``"
    # Sphinx looks for a name with a leading dot in all modules, and shows it without the dot.
    return f":py:obj:`.{text}`" if "." in text else f":py:obj:`{text}`"


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    try:
        arguments = frozenset(inspect.signature(obj).parameters)
    except (TypeError, ValueError):
        arguments = frozenset()
    lines[:] = convert("\n".join(lines), not_names=arguments).split("\n")


def _shorten_types(
    app: Sphinx,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    for long, short in _LONG_TYPES.items():
        signature, returns = (each and each.replace(long, short) for each in (signature, returns))
    return signature, returns


def _skip_field(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Skips the fields of NamedTuples, which are in the docstring."""
    return True if what == "class" and inspect.isdatadescriptor(obj) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Runs before Napoleon, whose priority is the default of 500."""
    app.connect("autodoc-process-docstring", _process, priority=400)
    app.connect("autodoc-process-signature", _shorten_types)
    app.connect("autodoc-skip-member", _skip_field)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
