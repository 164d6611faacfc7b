r"""Is what an accelerator computes right, and how fast is it? One table, within a time that is given.

    bash experiments/device_check.sh
    python -m experiments.device_check --seconds=480
    python -m experiments.device_check --fast

Downloads nothing, and needs no pictures. The parts, each in a new process:

    checks    weights of every solver beside the float64 solution on the host, which reveal products of fewer
              digits than float32's; predictions; sums in parts; the same fit twice, which may differ on some
              devices, by rounding only
    warm      compilation and warm seconds of fits of 128 x 128 to 1024 x 1024 in colour, 82 pairs, r = 3,
              with the memory that they plan to take, and of predictions
    first     the first such fit of a new process, from its start to the weights, and plain JAX's (of one
              channel)
    pix2pix   the GAN at full width on synthetic faces, for all the remaining time

A part ends if a package or memory is missing, or after its share of --seconds; its results so far are kept,
with the reason.

Writes device_check.json and device_check.md, which name the device, into --output_dir. Ends with exit status
1 if a check has failed. Expected: none does.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from experiments.benchmarking import device_processes
from experiments.reporting import markdown
from experiments.running import flag_values, run_folder, script
from mlr_jax import checks

# The largest share of the time for each; the rest of a share goes to the following parts.
_SHARES = {"checks": 0.25, "warm": 0.3, "first": 0.25, "pix2pix": 1.0}

_SECONDS = flags.DEFINE_float("seconds", 480.0, "For everything.", lower_bound=10)
_FAST = flags.DEFINE_bool("fast", False, "On small pictures: to see that everything works.")
_PARTS = flags.DEFINE_list("parts", list(_SHARES), "What to do.")
flags.adopt_module_key_flags(run_folder)


def check() -> None:
    """Runs the parts one after the other, and writes their results."""
    deadline = time.monotonic() + _SECONDS.value
    flag_values.check_names("parts", _PARTS.value, _SHARES, what="part")
    output_dir = run_folder.chosen("device_check")
    found: dict[str, Any] = {"device": {}, "seconds": _SECONDS.value, "fast": _FAST.value, "parts": {}}
    for part in _PARTS.value:
        left = deadline - time.monotonic() - device_processes.SPARE_SECONDS
        seconds = min(left, _SHARES[part] * _SECONDS.value)
        lines, reason = device_processes.run(part, seconds, fast=_FAST.value)
        for line in lines:
            found["device"] |= line.pop("device", {})
        rows = [line for line in lines if line]
        found["parts"][part] = {"rows": rows, "not_done": reason}
        run_folder.write_json(output_dir / "device_check.json", found)
        run_folder.write_bytes(output_dir / "device_check.md", document(found).encode())
        print(_markdown_part(part, rows, reason), flush=True)
    print(f"{_device(found['device'])}\nTables: {output_dir}")
    failed = [
        row["what"] for part in found["parts"].values() for row in part["rows"] if row.get("passed") is False
    ]
    if failed:
        raise checks.InputError(f"the device does not compute as it should: {'; '.join(failed)}")


def document(found: Mapping[str, Any]) -> str:
    """All results as tables."""
    parts = [_markdown_part(name, part["rows"], part["not_done"]) for name, part in found["parts"].items()]
    return "\n".join([f"# {_device(found['device'])}\n", *parts])


def _device(device: Mapping[str, Any]) -> str:
    if not device:
        return "No device answered"
    return f"{device['count']} x {device['kind']} ({device['platform']}), JAX {device['jax']}"


def _markdown_part(name: str, rows: Sequence[Mapping[str, Any]], reason: str) -> str:
    header = list(dict.fromkeys(column for row in rows for column in row))
    lines = [f"## {name}", ""]
    if rows:
        lines.append(markdown.table(header, [[_cell(row.get(c, "")) for c in header] for row in rows]))
    if reason:
        lines += [f"Not all was done: {reason}", ""]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    script.run(check, is_compiling_measured=True)
