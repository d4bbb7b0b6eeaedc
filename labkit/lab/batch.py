"""`labkit batch`: every notebook through papermill, one process each, one page to look at.

Parameters are checked against the notebooks' own before anything starts. A run is judged by its
exit status and by what its exercises said last, never by the notebook's metadata: papermill calls
cells completed that it had to kill. Reports: labkit.lab.report.
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import yaml

from labkit.errors import InvalidParameter, NotFound
from labkit.lab import parameters, record
from labkit.lab.notebooks.accept import as_text
from labkit.lab.notebooks.execute import COLOUR, environment
from labkit.lab.notebooks.shelf import Shelf, here
from labkit.lab.parameters import Parameter, Value

GRACE = 10  # seconds between asking papermill to stop and killing it
OUTCOME = re.compile(r"^\[(passed|not yet|broken|skipped)[^\]]*\] (\d\d\.\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One notebook with the parameters that it gets; `name` is unique within a batch."""

    name: str
    notebook: Path
    values: Mapping[str, Value]


@dataclass
class Result:
    """What came of a run. status is "ok", "failed" or "timeout"; records are from lab.record."""

    run: Run
    status: str
    reason: str
    seconds: float
    output: Path
    records: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)  # exercise -> its last outcome


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0: every run succeeded."""
    options = parser().parse_args(arguments)
    runs = plan(here(options.root), options.notebooks, value_sets(options), options.attendee)
    out = Path(options.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for place, run in enumerate(runs, start=1):
        announce(place, len(runs), run)
        results.append(execute(run, out, options.timeout, strict=not options.attendee))
        announce_result(results[-1])
    from labkit.lab import report

    page = report.write(out, results)
    good = sum(result.status == "ok" for result in results)
    print(f"{good} of {len(results)} runs succeeded; report: {page}")
    return 0 if good == len(results) else 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="labkit batch", description="Run notebooks with papermill and write one report page."
    )
    top.add_argument("notebooks", nargs="*", metavar="NN", help="number or name; default: all")
    top.add_argument("--attendee", action="store_true", help="attendee notebooks, not solved ones")
    top.add_argument(
        "-p", dest="pairs", action="append", default=[], metavar="NAME=VALUE", help="one parameter"
    )
    top.add_argument("-f", dest="file", help="a YAML or JSON file: a mapping, or a list of them")
    top.add_argument("--out", default="build/batch", help="directory of the report")
    top.add_argument("--timeout", type=float, default=600, help="seconds for one notebook")
    top.add_argument("--root", help="the checkout; default: around the working directory")
    return top


# ---- what is to run ----


def value_sets(options: argparse.Namespace) -> list[dict[str, Value]]:
    """Each set of parameters of the file, with those of -p on top."""
    sets: object = [{}]
    if options.file:
        loaded = yaml.safe_load(Path(options.file).read_text(encoding="utf-8"))
        sets = loaded if isinstance(loaded, list) else [loaded]
    pairs = dict(_pair(text) for text in options.pairs)
    if not isinstance(sets, list) or not all(isinstance(one, dict) for one in sets):
        raise InvalidParameter(f"{options.file} holds neither a mapping nor a list of mappings")
    return [{**one, **pairs} for one in sets]


def _pair(text: str) -> tuple[str, Value]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidParameter(f"-p {text!r} is not NAME=VALUE")
    parsed = yaml.safe_load(value)
    return name, parsed if isinstance(parsed, int | float | bool) else value


def plan(
    shelf: Shelf, words: Sequence[str], sets: list[dict[str, Value]], attendee: bool
) -> list[Run]:
    """One run for each notebook and each set that means something to it."""
    find = shelf.attendee if attendee else shelf.solved
    notebooks = [find(path.stem) for path in shelf.sources(*words)]
    missing = [str(path) for path in notebooks if not path.exists()]
    if missing or not notebooks:
        raise NotFound(f"not built: {', '.join(missing) or 'any notebook'}")
    known = {path: declared(path) for path in notebooks}
    for values in sets:
        refuse_unknown(values, known)
    return [run for path in notebooks for run in _runs(path, known[path], sets)]


def declared(path: Path) -> dict[str, Parameter]:
    """The parameters of a built notebook by name."""
    for cell in nbformat.read(path, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            return {one.name: one for one in parameters.read(cell.source)}
    return {}


def refuse_unknown(
    values: Mapping[str, Value], known: Mapping[Path, Mapping[str, Parameter]]
) -> None:
    """InvalidParameter for a name that no notebook has, and for a value that one cannot use."""
    names = {name for one in known.values() for name in one}
    for name, value in values.items():
        if name not in names:
            have = f"they have {', '.join(sorted(names))}" if names else "they have none"
            raise InvalidParameter(f"no chosen notebook has the parameter {name!r}; {have}")
        for path, one in known.items():
            if name in one:
                _check(path, one[name], value)


def _check(path: Path, parameter: Parameter, value: Value) -> None:
    try:
        parameter.check(value)
    except InvalidParameter as error:
        raise InvalidParameter(f"{path.stem}: {error}") from None


def _runs(path: Path, known: Mapping[str, Parameter], sets: list[dict[str, Value]]) -> list[Run]:
    """The sets as this notebook sees them, each once."""
    seen: list[dict[str, Value]] = []
    for values in sets:
        own = {name: value for name, value in values.items() if name in known}
        if own not in seen:
            seen.append(own)
    if len(seen) == 1:
        return [Run(path.stem, path, seen[0])]
    return [Run(f"{path.stem}-{place}", path, own) for place, own in enumerate(seen, start=1)]


# ---- running ----


def execute(run: Run, out: Path, seconds: float, *, strict: bool) -> Result:
    """One papermill process; `strict` wants every exercise passed or skipped."""
    output = out / f"{run.name}.ipynb"
    output.unlink(missing_ok=True)
    began = time.monotonic()
    with environment() as variables, tempfile.TemporaryFile() as log:
        status = _papermill(run, output, variables, seconds, log)
        log.seek(0)
        said = COLOUR.sub("", log.read().decode(errors="replace"))
    result = Result(run, "ok", "", time.monotonic() - began, output)
    if status is None:
        result.status, result.reason = "timeout", f"not done after {seconds:g} seconds"
    elif status:
        last = [line for line in said.splitlines() if line.strip()][-1:]
        result.status, result.reason = "failed", last[0] if last else f"exit status {status}"
    if output.exists():
        _read(result, strict=strict)
    return result


def _papermill(
    run: Run, output: Path, variables: dict[str, str], seconds: float, log: Any
) -> int | None:
    """Its exit status, or None when its time was up."""
    command = [sys.executable, "-m", "papermill", str(run.notebook), str(output)]
    command += ["--parameters_yaml", json.dumps(dict(run.values)), "--no-progress-bar"]
    command += ["--cwd", str(_directory(run.notebook)), "--log-level", "ERROR"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=variables,
        start_new_session=True,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _stop(process)


def _directory(notebook: Path) -> Path:
    parent = notebook.parent
    return parent.parent if parent.name == "solved" else parent


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt, then kill; its kernel sees its parent gone and ends too."""
    for word, seconds in ((signal.SIGINT, GRACE), (signal.SIGKILL, None)):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, word)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)


def _read(result: Result, *, strict: bool) -> None:
    """Records and outcomes from the notebook that papermill wrote, whole or not."""
    notebook = nbformat.read(result.output, as_version=4)
    result.records = record.read(notebook)
    for cell in notebook.cells:
        text = "\n".join(as_text(cell.get("outputs", [])))
        result.outcomes.update({name: outcome for outcome, name in OUTCOME.findall(text)})
    bad = [n for n, outcome in result.outcomes.items() if outcome in ("not yet", "broken")]
    if strict and bad and result.status == "ok":
        result.status, result.reason = "failed", f"exercises not passed: {', '.join(bad)}"


# ---- what is said meanwhile ----


def announce(place: int, total: int, run: Run) -> None:
    """A bar that is drawn over on a terminal, and left out in a log."""
    if sys.stderr.isatty():
        bar = "#" * (20 * (place - 1) // total)
        print(
            f"\r\033[K[{bar:<20}] {place}/{total} {run.name}", end="", file=sys.stderr, flush=True
        )


def announce_result(result: Result) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    values = " ".join(_shown(result.run.values))
    text = f"{result.run.name}: {result.status}, {result.seconds:.1f} s {values}".rstrip()
    print(text + (f": {result.reason}" if result.reason else ""), flush=True)


def _shown(values: Mapping[str, Value]) -> Iterator[str]:
    return (f"{name}={value}" for name, value in values.items())
