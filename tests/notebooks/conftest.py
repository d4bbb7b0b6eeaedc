"""The fixture notebook, built once. PATH decides whether its gated cell's need is met."""

import os
import shutil
from pathlib import Path

import pytest

from labkit.lab.notebooks import build
from labkit.lab.notebooks.shelf import Shelf

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Shelf:
    """A shelf with the fixture notebook, built where "bwrap" is; never change it."""
    root = tmp_path_factory.mktemp("built")
    shutil.copytree(FIXTURES, root, dirs_exist_ok=True)
    program = root / "bin/bwrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        build.build(Shelf(root), [], lambda line: None, lambda done, of: None)
    return Shelf(root)


@pytest.fixture
def shelf(built, tmp_path) -> Shelf:
    """A copy of it to break."""
    shutil.copytree(built.root, tmp_path, dirs_exist_ok=True)
    return Shelf(tmp_path)


@pytest.fixture
def with_bwrap(built) -> dict[str, str]:
    return {"PATH": f"{built.root / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def without_bwrap() -> dict[str, str]:
    """A PATH in which nothing is; Python is called by its whole name."""
    return {"PATH": "/nonexistent"}
