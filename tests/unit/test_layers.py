"""The architecture as a table: which module may import which. docs/ARCHITECTURE.md draws it."""

import ast
from pathlib import Path

import pytest

import labkit

PACKAGE = Path(labkit.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

#: module or package below labkit -> layer; imports go to lower layers only
LAYERS = {
    "errors": -1, "paths": -1, "store": -1,
    "linux": 0,
    "namespaces": 1, "mounts": 1, "mountoptions": 1, "rootpath": 1, "rootfs": 1,
    "overlay": 1, "terminal": 1, "spawn": 1, "cgroups": 1,
    "runtime": 2,
    "image": 3, "volumes": 3, "network": 3,
    "engine": 4,
    "api": 5,
    "lab": 6,
    "main": 7,
}  # fmt: skip

#: within layers 0 and 1 a neighbour may be imported only where it stands here
SIBLINGS = {
    "linux.syscalls": {"linux.constants"},
    "linux.capabilities": {"linux.constants", "linux.procfs", "linux.syscalls"},
    "linux.bpf": {"linux.constants", "linux.syscalls"},
    "linux.seccomp": {"linux.constants", "linux.syscalls", "linux.syscall_table"},
    "linux.seccomp_text": {"linux.seccomp", "linux.syscall_table"},
    "linux.rtnetlink": {"linux.netlink"},
    "mounts": {"mountoptions", "rootpath"},
    "overlay": {"mounts", "rootpath"},
    "rootfs": {"mounts", "rootpath"},
    "spawn": {"namespaces"},
}


def name_of(path: Path) -> str:
    """labkit/linux/bpf.py -> linux.bpf, labkit/cgroups/__init__.py -> cgroups."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


NAMES = {name_of(path) for path in MODULES}


def imports(source: str) -> set[str]:
    """Every labkit module that the source imports, without "labkit."."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            whole = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.removeprefix("labkit.") for name in whole if name.startswith("labkit.")}
    return {module(name) for name in found} - {""}


def module(name: str) -> str:
    """linux.bpf.DeviceRule -> linux.bpf: the longest part that is a module."""
    while name and name not in NAMES:
        name = name.rpartition(".")[0]
    return name


def layer(name: str) -> int:
    return LAYERS[name.partition(".")[0]]


def violations(importer: str, imported: set[str]) -> list[str]:
    """What is wrong with these imports, in words."""
    wrong = []
    for other in sorted(imported):
        if layer(other) > layer(importer):
            wrong.append(f"{importer} (layer {layer(importer)}) imports {other} ({layer(other)})")
        elif layer(other) == layer(importer) and not _neighbours(importer, other):
            wrong.append(f"{importer} imports its neighbour {other}: not in SIBLINGS")
    return wrong


def _neighbours(importer: str, other: str) -> bool:
    same_package = importer.partition(".")[0] == other.partition(".")[0]
    if layer(importer) > 1 or importer.startswith("cgroups"):
        return same_package
    return other in SIBLINGS.get(importer, ())


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p)], ids=name_of)
def test_imports_point_down(path: Path) -> None:
    name = name_of(path)
    assert name.partition(".")[0] in LAYERS, f"{name} has no layer: give it one in LAYERS"
    assert not violations(name, imports(path.read_text()))


def test_the_table_of_neighbours_has_no_dead_lines() -> None:
    for importer, others in SIBLINGS.items():
        if importer in NAMES:
            source = (PACKAGE / f"{importer.replace('.', '/')}.py").read_text()
            assert others <= imports(source), f"{importer} does not import all of {others}"


def test_no_import_goes_in_a_circle_below_the_lab() -> None:
    graph = {
        name_of(p): imports(p.read_text()) - {name_of(p)}
        for p in MODULES
        if name_of(p) and layer(name_of(p)) < 6
    }
    while leaves := {name for name, needs in graph.items() if not needs & graph.keys()}:
        graph = {name: needs for name, needs in graph.items() if name not in leaves}
    assert not graph, f"in a circle or above one: {sorted(graph)}"


@pytest.mark.parametrize(
    ("importer", "source", "expected"),
    [
        ("linux.procfs", "import labkit.mounts", "linux.procfs (layer 0) imports mounts (1)"),
        ("mounts", "from labkit.lab import world", "mounts (layer 1) imports lab.world (6)"),
        ("errors", "def f():\n from labkit import linux", "errors (layer -1) imports linux (0)"),
        ("linux.procfs", "from labkit.linux import bpf", "its neighbour linux.bpf"),
        ("namespaces", "from labkit.mounts import Mount", "its neighbour mounts"),
    ],
)
def test_a_wrong_import_would_be_found(importer: str, source: str, expected: str) -> None:
    assert expected in " ".join(violations(importer, imports(source)))
