"""What layers 0 to 2 import: they start inside containers and are forked, so each module costs."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import labkit

PACKAGE = Path(labkit.__file__).parent

#: cheap, and enough; docs/ARCHITECTURE.md says why not the others
ALLOWED = set(
    "array collections collections.abc contextlib ctypes enum errno fcntl hashlib json math os "
    "select signal socket stat struct sys termios time tty".split()
)

#: all that the allowed ones bring with them beyond a bare `python -I -S`, measured with 3.11, 3.12
#: and 3.13; C helpers (_struct ...) are left out. A new name here is a slower start.
LOADED = set(
    "array collections collections.abc contextlib copyreg ctypes ctypes._endian enum errno fcntl "
    "functools genericpath hashlib itertools json json.decoder json.encoder json.scanner keyword "
    "math operator os os.path posixpath re re._casefix re._compiler re._constants re._parser "
    "reprlib select selectors signal socket stat struct termios tty types".split()
)

#: for one module of ours: at most 34 measured
MOST_MODULES = 36


def low_modules() -> list[Path]:
    """The files of layers 0 to 2 and of what serves all layers: all single modules but main."""
    files = [file for file in PACKAGE.glob("*.py") if file.stem not in ("__init__", "main")]
    for package in ("linux", "cgroups", "runtime"):
        files += (PACKAGE / package).rglob("*.py")
    return sorted(files)


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


class Importer(ast.NodeVisitor):
    """Collects imports, also those inside functions; leaves out `if TYPE_CHECKING:`."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.found.add(node.module or ".")


def imported(source: str) -> set[str]:
    importer = Importer()
    importer.visit(ast.parse(source))
    return {name for name in importer.found if name.partition(".")[0] != "labkit"}


@pytest.mark.parametrize("path", low_modules(), ids=name_of)
def test_low_layers_import_only_cheap_standard_modules(path: Path) -> None:
    assert imported(path.read_text()) <= ALLOWED


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import subprocess", {"subprocess"}),
        ("def f():\n from pathlib import Path", {"pathlib"}),
        ("TYPE_CHECKING = False\nif TYPE_CHECKING:\n from typing import Any", set()),
        ("import labkit.linux, os", {"os"}),
    ],
)
def test_a_wrong_import_would_be_found(source: str, found: set[str]) -> None:
    assert imported(source) == found


def measured(name: str) -> set[str]:
    """sys.modules that `python -I -S` has after importing `name`, and did not have before."""
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1])\n"
        "__import__(sys.argv[2]); after = set(sys.modules) - before\n"
        "import json; print(json.dumps(sorted(after)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(PACKAGE.parent), name],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {module for module in json.loads(done.stdout) if module.partition(".")[0] != "labkit"}


@pytest.mark.parametrize("name", [name_of(path) for path in low_modules()])
def test_what_is_really_loaded_stays_small(name: str) -> None:
    loaded = measured(name)
    assert {module for module in loaded if not module.startswith("_")} <= LOADED
    assert len(loaded) <= MOST_MODULES, sorted(loaded)


def test_the_bare_wrappers_need_few() -> None:
    assert len(measured("labkit.linux.syscalls")) <= 24
