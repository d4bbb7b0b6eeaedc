import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from labkit.errors import NotFound
from labkit.lab.names import HOST, Names
from labkit.linux import procfs

UNSHARE = """
import sys
from labkit.linux.constants import CloneFlag
from labkit.linux.syscalls import unshare
unshare(CloneFlag(int(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
"""
NEWUTS, NEWIPC = 0x04000000, 0x08000000


class Apart:
    """A process in new namespaces; ends with the test."""

    def __init__(self, flags: int) -> None:
        command = [sys.executable, "-c", UNSHARE, str(flags)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe)
        assert self.process.stdout and self.process.stdout.readline() == b"ready\n"
        self.pid = self.process.pid

    def end(self) -> None:
        self.process.communicate()


@pytest.fixture
def apart() -> Iterator[list[Apart]]:
    started: list[Apart] = []
    yield started
    for one in started:
        if one.process.poll() is None:
            one.end()


def test_own_namespaces_are_host() -> None:
    aliases = Names().namespaces(os.getpid())
    assert set(aliases.values()) == {"host"}
    assert list(aliases) == list(procfs.namespaces())


def test_saved_inodes_get_aliases_in_order_of_first_sight() -> None:
    names = Names(host={"uts": 1, "net": 1})
    seen = [names.ns({"uts": inode, "net": inode}, "uts") for inode in (9, 1, 4, 9)]
    assert seen == ["uts#1", "host", "uts#2", "uts#1"]
    assert names.ns({"net": 9}, "net") == "net#1"


def test_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(NotFound, match="no namespace kind 'utc' here: there are mnt, pid, uts"):
        Names().ns(os.getpid(), "utc")


def test_dead_process_is_a_lookup_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    with pytest.raises(ProcessLookupError):
        Names().ns(process.pid, "uts")


@pytest.mark.root
def test_process_apart_differs_in_what_it_unshared_only(apart: list[Apart]) -> None:
    apart.append(Apart(NEWUTS))
    aliases = Names().namespaces(apart[0])
    assert {kind for kind, alias in aliases.items() if alias != "host"} == {"uts"}
    assert not Names().same(apart[0], os.getpid(), "uts")


@pytest.mark.root
def test_number_of_a_dead_namespace_counts_as_new(apart: list[Apart]) -> None:
    """The kernel gives the same inode number again; the alias must not say it is the same."""
    names = Names()
    seen = []
    for _ in range(3):
        apart.append(Apart(NEWUTS))
        seen.append(names.ns(apart[-1], "uts"))
        assert names.ns(apart[-1], "uts") == seen[-1]
        apart[-1].end()
    assert seen == ["uts#1", "uts#2", "uts#3"]


def test_processes_have_aliases_too() -> None:
    names = Names()
    with subprocess.Popen(["sleep", "60"]) as one, subprocess.Popen(["sleep", "60"]) as two:
        names.call(two, "victim")
        assert names.pid(os.getpid()) == "kernel"
        assert [names.pid(p) for p in (one, two, one)] == ["pid#1", "victim", "pid#1"]
        one.kill()
        two.kill()


def test_map_as_text_names_who_shares_what() -> None:
    names = Names(host={"uts": 1, "net": 1})
    processes = {"kernel": {"uts": 1, "net": 1}, "a": {"uts": 2, "net": 1}}
    processes["b"] = {"uts": 2, "net": 3}
    assert names.map(processes).text == (
        "uts  host: kernel | uts#1: a, b\nnet  host: kernel, a | net#1: b"
    )
    assert names.map(processes, ["net"]).text == "net  host: kernel, a | net#1: b"


def test_map_as_picture_carries_the_text_as_its_caption() -> None:
    found = Names(host={"uts": 1}).map({"kernel": {"uts": 1}, "a": {"uts": 2}})
    chart = found.chart()
    assert chart.caption == found.text
    assert chart.png.startswith(b"\x89PNG")


def test_host_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        HOST["uts"] = 1  # type: ignore[index]
