"""nbval, made strict: `pytest --nbval notebooks/` compares every output of every solved notebook.

What nbval alone would let through or get wrong, and what is done here about it:

    a child's output is lost     ipykernel leaves fd 1 and 2 alone when PYTEST_CURRENT_TEST is set
    never-run cells pass         a cell without an execution count fails
    a dead kernel costs 120 s    it is noticed at once
    runs share a work folder     each notebook has an empty one, as in `labkit notebooks build`
    nothing ran, all is green    executed cells are counted against tests/notebooks/counts.json
    a need is not met            the cell is skipped, because ...; in CI that is an error
    kernels are killed           they are asked to end: a notebook cleans up at its kernel's end
    recorded data is shown       such a cell runs and is not compared; in CI that is an error

Attendee notebooks have no outputs: they are reported as not compared.
nbval.kernel is not a public interface; tests/notebooks/test_machinery.py proves each line above.
"""

import contextlib
import os
import subprocess
import time
from collections import Counter
from pathlib import Path
from queue import Empty

import nbformat
import nbval.kernel
import pytest

from labkit.lab import needs
from labkit.lab.notebooks.execute import CELL_SECONDS, environment
from labkit.lab.notebooks.shelf import Shelf, read_counts
from labkit.lab.reset import reset
from labkit.paths import Instance

HERE = Path(__file__).parent
NBVAL_DEFAULT_SECONDS = 2000
STOP_SECONDS = 20
start_kernel = nbval.kernel.start_new_kernel
get_message = nbval.kernel.RunningKernel.get_message


def pytest_configure(config):
    if not getattr(config.option, "nbval", False):
        return
    if config.option.nbval_cell_timeout == NBVAL_DEFAULT_SECONDS:
        config.option.nbval_cell_timeout = CELL_SECONDS
    if not config.option.nbval_kernel_name:
        config.option.nbval_current_env = True
    kernels = Kernels()
    patch = pytest.MonkeyPatch()
    patch.setattr(nbval.kernel, "start_new_kernel", kernels.start)
    patch.setattr(nbval.kernel.RunningKernel, "get_message", get_message_of_a_live_kernel)
    patch.setattr(nbval.kernel.RunningKernel, "stop", shut_down)
    config.add_cleanup(patch.undo)
    config.add_cleanup(kernels.clear)
    config.pluginmanager.register(Tally(config), "labkit-tally")


class Kernels:
    """Starts kernels as `labkit notebooks build` does: environment and working directory."""

    def __init__(self):
        self.stack = contextlib.ExitStack()

    def start(self, *, cwd, stderr, **options):
        stderr.close()  # nbval opens it and never closes it
        directory = Path(cwd)
        cwd = str(directory.parent if directory.name == "solved" else directory)
        variables = self.stack.enter_context(environment())
        return start_kernel(cwd=cwd, stderr=subprocess.DEVNULL, env=variables, **options)

    def clear(self):
        """Remove the work folders, and what kernels that died had left."""
        self.stack.close()
        reset(Instance())


def get_message_of_a_live_kernel(self, stream, timeout=None):
    """As nbval's, but a kernel that has died is an error now and not when the time is up."""
    end = time.monotonic() + (timeout if timeout is not None else CELL_SECONDS)
    while True:
        left = end - time.monotonic()
        try:
            return get_message(self, stream, timeout=max(0, min(1, left)))
        except Empty:
            if not self.is_alive():
                raise RuntimeError("the kernel died") from None
            if left <= 1:
                raise


def shut_down(self):
    """As nbval's, but the kernel is asked to end, and so cleans up what the notebook made."""
    self.kc.stop_channels()
    self.km.shutdown_wait_time = STOP_SECONDS
    self.km.shutdown_kernel()


class NotCompared(pytest.Item):
    def runtest(self):
        pytest.skip("not compared: an attendee's notebook has no outputs")

    def reportinfo(self):
        return self.path, 0, self.path.name


class AttendeeNotebook(pytest.File):
    def collect(self):
        yield NotCompared.from_parent(self, name="not compared")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    found = yield
    if file_path.suffix != ".ipynb" or not found:
        return found
    facts = nbformat.read(file_path, as_version=4).metadata.get("labkit", {})
    if facts.get("variant") == "attendee":
        return [AttendeeNotebook.from_parent(parent, path=file_path)]
    return found


def pytest_runtest_setup(item):
    if type(item).__name__ != "IPyNbCell":
        return
    tags = item.cell.metadata.get("tags", [])
    missing = needs.lacking(needs.of_tags(tags))
    recorded = needs.lacking(needs.of_tags(tags, needs.RECORDED))
    strict = os.environ.get("CI") == "true" or os.environ.get("LABKIT_STRICT_NEEDS") == "1"
    if (lacking := missing + recorded) and strict and not set(lacking) & set(needs.OPTIONAL):
        pytest.fail(f"this machine must have what the cell needs: {', '.join(lacking)}")
    if recorded:
        item.options["check"] = False
    if missing:
        pytest.skip(needs.because(missing))
    if item.cell.execution_count is None:
        pytest.fail("committed without being run: labkit notebooks build")


class Tally:
    """Counts what was executed; too little is an error of the whole run."""

    def __init__(self, config):
        self.config, self.counts = config, read_counts(Shelf(HERE.parent))
        self.collected, self.executed, self.gated = Counter(), Counter(), Counter()
        self.whole = not config.option.keyword and not any("::" in arg for arg in config.args)

    def pytest_collection_finish(self, session):
        self.collected.update(stem(item.nodeid) for item in session.items)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.outcome != "skipped":
            self.executed[stem(report.nodeid)] += 1
        elif report.when == "setup" and report.outcome == "skipped":
            self.gated[stem(report.nodeid)] += 1

    def shortages(self):
        """What is missing, one sentence each."""
        if not self.whole or self.config.option.collectonly:
            return
        every = any(Path(arg).resolve() == HERE for arg in self.config.args)
        for name, counts in self.counts.items():
            if not self.collected[name] and not every:
                continue
            wanted = counts["cells"] - min(self.gated[name], sum(counts["needs"].values()))
            if self.executed[name] < wanted:
                yield f"{name}: {self.executed[name]} cells were executed, {wanted} should be"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        stopped = session.shouldstop or session.shouldfail
        if not stopped and session.exitstatus == 0 and list(self.shortages()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        for name, number in sorted(self.executed.items()):
            terminalreporter.write_line(f"{name}: {number} cells executed and compared")
        for sentence in self.shortages():
            terminalreporter.write_line(sentence, red=True)


def stem(nodeid):
    """notebooks/solved/02-name.ipynb::Cell 3 -> 02-name; other notebooks do not count."""
    path = Path(nodeid.partition("::")[0])
    return path.stem if path.parent.name == "solved" else ""
