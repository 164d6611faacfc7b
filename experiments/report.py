r"""What have all these runs found? One web page of their tables and figures.

    python -m experiments.report --runs=runs
    python -m experiments.report --runs=runs/compare_baselines --output=baselines.html --title="Ten methods"

Reads every folder in --runs, at any depth, that has a config.json, and writes one self-contained HTML file.
It begins with a table of all runs. Each run has its name, its start, its machine and command, its tables (a
click on a heading sorts), its figures, its flags and versions, and a note on each missing or damaged file.
The page contains the pictures of the runs: show it only to people who may see these.
"""

import ast
import datetime
import json
import shlex
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from experiments.reporting import recorded_runs, web_page
from experiments.reporting.recorded_runs import RecordedFigure, RecordedRun, RecordedTable
from experiments.reporting.web_page import Content, element
from experiments.running import run_folder, script
from mlr_jax import checks

_RUNS = flags.DEFINE_string("runs", "runs", "Folder of the runs, or of a single one.")
_OUTPUT = flags.DEFINE_string("output", None, "HTML file to write; by default report.html in that folder.")
_TITLE = flags.DEFINE_string("title", "Runs of mlr_jax", "Heading of the page.")

# Longer tables are folded, and come last.
_MANY_ROWS = 64


def page(runs: Sequence[RecordedRun], title: str) -> str:
    """The whole report as HTML.

    Args:
      runs: in their order on the page.
      title: the heading.

    Returns:
      A document that refers to nothing outside itself.
    """
    now = _moment(datetime.datetime.now(datetime.UTC))
    collected = f"{_count(len(runs), 'run')}, collected {now} UTC"
    body = [
        element("h1", title, id="top"),
        element("p", collected, class_="quiet"),
        _overview(runs),
        *(_section(run, _anchor(place)) for place, run in enumerate(runs)),
    ]
    return web_page.document(title, body)


def _overview(runs: Sequence[RecordedRun]) -> ET.Element:
    header = ["run", "experiment", "started, UTC", "seconds", "tables", "figures", "wrong", "flags given"]
    rows: list[list[Content]] = []
    for place, run in enumerate(runs):
        started, seconds = _started(run), _seconds(run)
        problems = element("span", "; ".join(run.problems), class_="problem")
        rows.append(
            [
                element("a", web_page.breakable(run.name), href=f"#{_anchor(place)}"),
                _experiment(run),
                _moment(started) if started else "",
                "" if seconds is None else f"{seconds:.0f}",
                str(len(run.tables)),
                str(len(run.figures)),
                problems if run.problems else "",
                _arguments(_command(run)[1:]),
            ]
        )
    return web_page.table("all runs", header, rows)


def _section(run: RecordedRun, anchor: str) -> ET.Element:
    """The section of a run."""
    experiment = _experiment(run)
    heading = element("h2", web_page.breakable(experiment), id=anchor)
    if run.name != experiment:
        heading.append(element("small", web_page.breakable(run.name)))
    section = element("section", heading)
    if question := _question(experiment):
        section.append(element("p", question, class_="question"))
    skipped = [f"skipped: {each}" for each in _mapping(run.configuration, "skipped").values()]
    section.extend(element("p", problem, class_="problem") for problem in (*run.problems, *skipped))
    section.append(web_page.names_and_values(_facts(run), class_="facts"))
    if shown := _shown_at_once(run):
        items = [element("figure", element("figcaption", *_caption(item)), _body(item)) for item in shown]
        section.append(element("div", *items, class_="results"))
    for table in filter(_is_long, run.tables):
        section.append(element("details", element("summary", *_caption(table)), _body(table), class_="long"))
    if run.configuration:
        summary = element("summary", "Flags, versions and all else that was recorded")
        section.append(element("details", summary, *_recorded(run.configuration), class_="recorded"))
    section.append(element("p", element("a", "All runs", href="#top"), class_="back"))
    return section


def _shown_at_once(run: RecordedRun) -> list[RecordedTable | RecordedFigure]:
    items: list[RecordedTable | RecordedFigure] = [table for table in run.tables if not _is_long(table)]
    return sorted([*items, *run.figures], key=lambda item: recorded_runs.importance(item.name))


def _is_long(table: RecordedTable) -> bool:
    return len(table.rows) > _MANY_ROWS


def _caption(item: RecordedTable | RecordedFigure) -> list[Content]:
    name = web_page.breakable(item.name)
    if isinstance(item, RecordedFigure):
        return [name]
    return [name, " ", element("span", _count(len(item.rows), "row"))]


def _body(item: RecordedTable | RecordedFigure) -> ET.Element:
    if isinstance(item, RecordedTable):
        return web_page.table(item.name, item.header, item.rows)
    return web_page.picture(*item)


def _facts(run: RecordedRun) -> dict[str, Content]:
    """The main facts of a run, without unknown ones."""
    started, seconds, command = _started(run), _seconds(run), _command(run)
    facts: dict[str, Content] = {
        "Started": f"{_moment(started)} UTC" if started else "",
        "Took": "" if seconds is None else f"{_duration(seconds)}, until its newest file was written",
        "Command": _arguments(_command_line(command)) if command else "",
        "Data": _data(run.configuration),
        "Machine": _machine(_mapping(run.configuration, "device")),
        "Other files": ", ".join(run.others),
    }
    return {name: value for name, value in facts.items() if value != ""}


def _experiment(run: RecordedRun) -> str:
    """The name of the experiment; else that of the folder."""
    name = run.configuration.get("experiment")
    if isinstance(name, str) and name:
        return name
    command = _command(run)
    return Path(command[0]).stem if command else run.name


def _question(experiment: str) -> str:
    """The first line of the script's docstring; empty if there is no such script."""
    scripts = {path.stem: path for path in Path(__file__).parent.glob("*.py")}
    if experiment not in scripts:
        return ""
    docstring = ast.get_docstring(ast.parse(scripts[experiment].read_text())) or ""
    return docstring.partition("\n")[0]


def _command(run: RecordedRun) -> list[str]:
    """The script and its arguments; empty if unknown."""
    command = run.configuration.get("command")
    return [str(each) for each in command] if isinstance(command, list) else []


def _command_line(command: Sequence[str]) -> list[str]:
    """The command as typed; a run records only the script's file name."""
    name = Path(command[0]).stem
    return ["python", "-m", f"experiments.{name}", *command[1:]] if _question(name) else list(command)


def _arguments(words: Sequence[str]) -> Content:
    """Words of a command line, unbroken if there is room."""
    parts = [element("span", shlex.quote(word)) for word in words]
    return element("code", *(each for part in parts for each in (part, " "))) if parts else ""


def _started(run: RecordedRun) -> datetime.datetime | None:
    try:
        started = datetime.datetime.fromisoformat(run.configuration["started"])
        return started.astimezone(datetime.UTC)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _seconds(run: RecordedRun) -> float | None:
    """From the start to the newest file, whose time a copy may have changed."""
    started = _started(run)
    if started is None or run.written < started:
        return None
    return (run.written - started).total_seconds()


def _data(configuration: Mapping[str, Any]) -> str:
    """For example "synthetic, 64 x 64 x 3, 90 pairs to train, 10 to test"."""
    parts = [_mapping(configuration, "flags").get("dataset")]
    if isinstance(configuration.get("image_shape"), list):
        parts.append(" x ".join(map(str, configuration["image_shape"])))
    if "num_train" in configuration and "num_test" in configuration:
        parts.append(f"{configuration['num_train']} pairs to train, {configuration['num_test']} to test")
    return ", ".join(part for part in parts if isinstance(part, str))


def _machine(device: Mapping[str, Any]) -> str:
    """For example "cpu, x86_64, 2 cores"."""
    parts = [device.get("kind"), device.get("machine")]
    if device.get("count", 1) != 1:
        parts[0] = f"{device['count']} x {parts[0]}"
    if "cores" in device:
        parts.append(f"{device['cores']} cores")
    return ", ".join(part for part in parts if isinstance(part, str))


def _recorded(configuration: Mapping[str, Any]) -> list[ET.Element]:
    """Everything in config.json."""
    groups = {name: value for name, value in configuration.items() if isinstance(value, dict) and value}
    rest = {name: value for name, value in configuration.items() if name not in groups}
    elements = []
    for title, group in (*groups.items(), ("others", rest)):
        if group:
            values: dict[str, Content] = {name: _words(value) for name, value in group.items()}
            elements += [element("h3", title), web_page.names_and_values(values, class_="settings")]
    return elements


def _words(value: Any) -> str:
    """A value of config.json; a list as a flag would be written."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and not any(isinstance(each, list | dict) for each in value):
        return ", ".join(map(_words, value))
    return json.dumps(value, ensure_ascii=False)


def _mapping(configuration: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = configuration.get(name)
    return value if isinstance(value, dict) else {}


def _anchor(place: int) -> str:
    return f"run-{place + 1}"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def _moment(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M")


def _duration(seconds: float) -> str:
    """A duration in at most two units."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes_rest = divmod(minutes, 60)
    return f"{hours} h {minutes_rest} min" if hours else f"{minutes} min {rest} s"


def main() -> None:
    """Checks the flags, reads the runs and writes the page."""
    if flags.FLAGS["output_dir"].present:
        raise checks.InputError("--output_dir: a report is one file; name it with --output")
    folder = Path(_RUNS.value).expanduser()
    output = Path(_OUTPUT.value).expanduser() if _OUTPUT.value else folder / "report.html"
    runs = recorded_runs.find(folder)
    if output.is_dir() or not output.parent.is_dir():
        raise checks.InputError(f"--output: {output} is not a file in a folder that there is")
    run_folder.write_bytes(output, page(runs, _TITLE.value).encode(errors="replace"))
    print(f"{_count(len(runs), 'run')}: {output}")
    for run in runs:
        for problem in run.problems:
            print(f"{run.name}: {problem}")


if __name__ == "__main__":
    script.run(main)
