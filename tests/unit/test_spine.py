"""The spine: the part of labkit that is read as a textbook, and stays short enough for it."""

import re
from pathlib import Path

import labkit

ROOT = Path(labkit.__file__).parent.parent
READING = ROOT / "docs" / "READING.md"

MOST_LINES = 2500  #: of the whole spine
MOST_LINES_OF_ONE = 300  #: of one module, in layers 0 to 2; a table of data may be longer

#: spine files that docs/READING.md must list, in this order, once they exist
EXPECTED = """
labkit/linux/syscalls.py labkit/namespaces.py labkit/spawn.py labkit/mounts.py labkit/rootfs.py
labkit/cgroups/v2.py labkit/overlay.py labkit/linux/rtnetlink.py
""".split()


def listed() -> list[str]:
    """The files in READING.md's numbered list: lines that begin `1. ` and name labkit/....py."""
    if not READING.exists():
        return [name for name in EXPECTED if (ROOT / name).exists()]
    lines = re.findall(r"^\s*\d+\.\s.*?\b(labkit/[\w/]+\.py)\b", READING.read_text(), re.M)
    return list(dict.fromkeys(lines))


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_every_file_of_the_spine_exists() -> None:
    assert listed(), "no numbered list of labkit/*.py in docs/READING.md"
    assert not [name for name in listed() if not (ROOT / name).exists()]


def test_the_expected_files_are_listed_in_reading_order() -> None:
    there = [name for name in EXPECTED if (ROOT / name).exists()]
    assert [name for name in listed() if name in there] == there


def test_the_spine_can_be_read_in_a_weekend() -> None:
    sizes = {name: lines(ROOT / name) for name in listed()}
    assert sum(sizes.values()) <= MOST_LINES, sizes


def test_modules_of_the_low_layers_are_short() -> None:
    low = [*(ROOT / "labkit").glob("*.py")]
    for package in ("linux", "cgroups", "runtime"):
        low += (ROOT / "labkit" / package).rglob("*.py")
    sizes = {str(path.relative_to(ROOT)): lines(path) for path in low}
    assert not {name: size for name, size in sizes.items() if size > MOST_LINES_OF_ONE}
