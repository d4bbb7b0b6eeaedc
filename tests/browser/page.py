"""JupyterLab in a headless Chromium, in the words of a learner: open, run all, read, press a key.

The server is the one that `make lab` starts. Its page is asked through `window.jupyterapp`, which
JupyterLab offers when LabApp.expose_app_in_browser is set: the indicators in the page say idle
before the kernel is connected, and a run that begins then never ends.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from labkit.lab.jupyter import FIRST

CHECKOUT = Path(__file__).parents[2]
SCREENS = CHECKOUT / "build" / "screens"
SECOND = 1000  # playwright counts in milliseconds

READY = """path => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const kernel = panel?.sessionContext?.session?.kernel;
    return panel?.context?.path === path
        && kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
}"""

# A cell that ran has a number; an error ends the run and leaves the cells below it without one.
DONE = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const cells = panel.content.widgets.filter(cell => cell.model.type === 'code');
    const code = cells.filter(cell => cell.model.sharedModel.getSource().trim());
    const idle = panel.sessionContext.session.kernel.status === 'idle';
    const failed = code.some(cell => cell.model.outputs.toJSON().some(
        output => output.output_type === 'error'
            && !(cell.model.getMetadata('tags') ?? []).includes('raises-exception')));
    return idle && (failed || code.every(cell => cell.model.executionCount !== null));
}"""

OUTPUTS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code')
    .map(cell => cell.model.outputs.toJSON())"""


class Lab:
    """One page of one server, with what it asked of the network and what went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._saw(request.url))
        page.on("websocket", lambda socket: self._saw(socket.url))

    def _saw(self, url: str) -> None:
        """data: and blob: addresses name no host."""
        if urlsplit(url).scheme in ("http", "https", "ws", "wss"):
            self.hosts.add(urlsplit(url).hostname or "")

    def open(self, name: str = FIRST) -> None:
        """The address that was printed, which shows notebook 00; or one notebook by itself."""
        target = self.url
        if (
            name != FIRST
        ):  # a workspace of its own: nothing that an earlier page had open comes back
            server, _, query = self.url.partition("/?")
            target = f"{server}/lab/workspaces/{name[:2]}/tree/{name}?{query}"
        self.page.goto(target)
        self.page.wait_for_function(READY, arg=name, timeout=60 * SECOND)

    def run_all(self, seconds: int = 120) -> None:
        """Run every cell; not awaited, because the command itself ends when the last cell does."""
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_timeout(SECOND)  # the first cell's number is cleared by then
        self.page.wait_for_function(DONE, timeout=seconds * SECOND)

    def outputs(self) -> list[list[dict[str, object]]]:
        """The outputs of each code cell, as nbformat has them."""
        found: list[list[dict[str, object]]] = self.page.evaluate(OUTPUTS)
        return found

    def uncaught(self) -> list[str]:
        """Errors in outputs, as "NameError: ..."."""
        listed = [output for cell in self.outputs() for output in cell]
        return [f"{o['ename']}: {o['evalue']}" for o in listed if o["output_type"] == "error"]

    def press(self, label: str, key: str, times: int = 1) -> int:
        """Focus the slider of that label, press a key, and return the value that it says."""
        handle = self.slider(label).locator("[role=slider]")
        handle.scroll_into_view_if_needed()
        handle.focus()
        for _ in range(times):
            self.page.keyboard.press(key)
        return int(float(handle.get_attribute("aria-valuenow") or "nan"))

    def slider(self, label: str):  # type: ignore[no-untyped-def]  # a playwright Locator
        """The box of a slider: its description is the label."""
        return self.page.locator(".widget-slider", has_text=label).last

    def close(self) -> None:
        """Shut the kernels down, as "Shut Down All" does, and leave: the next test finds none."""
        self.page.evaluate("window.jupyterapp?.serviceManager.sessions.shutdownAll()")
        self.page.close()

    def screenshot(self, name: str) -> Path:
        SCREENS.mkdir(parents=True, exist_ok=True)
        path = SCREENS / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def find_chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("needs chromium, which this distribution does not package")


@contextlib.contextmanager
def server(port: int, work: Path) -> Iterator[str]:
    """JupyterLab as `make lab` starts it; yields the address that it printed."""
    argv = [sys.executable, "-m", "labkit.lab.jupyter", "--port", str(port)]
    argv += ["--LabApp.expose_app_in_browser=True", f"--LabApp.workspaces_dir={work}/.workspaces"]
    env = dict(os.environ, LABKIT_WORK=str(work))
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield printed_address(child)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(timeout=30)


def printed_address(child: "subprocess.Popen[str]") -> str:
    assert child.stdout
    for line in child.stdout:
        found = re.search(r"http://\S+", line)
        if found:
            return found[0]
    raise AssertionError(f"JupyterLab ended with {child.wait()} and printed no address")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """--no-sandbox: Chromium refuses to run as root with its own."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=find_chromium(),
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        try:
            yield browser
        finally:
            browser.close()
