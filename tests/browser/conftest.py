"""One server and one browser for all tests here, a new page for each."""

import socket
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import Browser

from tests.browser.page import Lab, chromium, server

SLIDER = """\
from labkit.lab import Slider

seen = []
slider = Slider("memory", 64, 16, 256, on_change=seen.append)
slider"""


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    work = tmp_path_factory.mktemp("work")
    write_notebook(work / "90-slider.ipynb", SLIDER, "print('ran to the end')")
    with server(free_port(), work) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def lab(browser: Browser, address: str) -> Iterator[Lab]:
    opened = Lab(browser.new_page(viewport={"width": 1280, "height": 900}), address)
    try:
        yield opened
    finally:
        opened.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def write_notebook(path: Path, *cells: str) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, path)
