"""Ctrl-C and SIGTERM, for work that saves its state before it ends."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Notes the first Ctrl-C or SIGTERM, in the list, without effect; a second one acts as usual."""
    numbers: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        numbers.append(number)
        restore()

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield numbers
    finally:
        restore()
