"""What every test gets: an instance of its own, a guard against leaks, and no silent skipping.

root     not root is an error, never a skip: a run that could not test must not look green
cgroup2  skipped with the reason where the machine has cgroups v1; the virtual machine runs them
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import labkit
from labkit.linux import procfs
from labkit.paths import Instance
from tests import leaks

PR_SET_CHILD_SUBREAPER = 36
_MADE = pytest.StashKey[str]()


# ---- the run --------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """An instance of this run's own, so that its tag names what is ours; and orphans come home.

    LABKIT_ROOT and LABKIT_RUN that are set, as by `make test`, are kept: they hold a base image.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # nohup(1), or a shell that runs us in the background, has these ignored, and children inherit
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "LABKIT_ROOT" not in os.environ:
        config.stash[_MADE] = directory = tempfile.mkdtemp(prefix="labkit-test-")
        os.environ["LABKIT_ROOT"] = os.path.join(directory, "root")
        os.environ["LABKIT_RUN"] = os.path.join(directory, "run")
        for path in (os.environ["LABKIT_ROOT"], os.environ["LABKIT_RUN"]):
            os.mkdir(path)


def pytest_unconfigure(config: pytest.Config) -> None:
    if directory := config.stash.get(_MADE, None):
        shutil.rmtree(directory)
        del os.environ["LABKIT_ROOT"], os.environ["LABKIT_RUN"]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run in which nothing ran fails: all skipped is not passed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    looked_only = session.config.option.collectonly or reporter is None
    if exitstatus == pytest.ExitCode.OK and not looked_only and not reporter.stats.get("passed"):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


# ---- each test ------------------------------------------------------------------


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.fail("needs root: run `sudo make test`", pytrace=False)
    if item.get_closest_marker("cgroup2"):
        from labkit import cgroups

        if (found := cgroups.detect()) != "v2":
            pytest.skip(f"needs cgroup v2, this machine has {found}")


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a root test that leaves a mount, netns, link, cgroup, nft table or process behind.

    Fixtures of wider scope are there before and stay; the test's own are gone by now.
    """
    if request.node.get_closest_marker("root") is None:
        yield
        return
    instance = Instance()
    children = procfs.children(os.getpid())
    before = leaks.of_instance(instance)
    yield
    left = leaks.settled(before, lambda: leaks.of_instance(instance))
    _reap(set(procfs.children(os.getpid())) - set(children))
    if left:
        pytest.fail("left behind:\n  " + "\n  ".join(left), pytrace=False)


def _reap(pids: set[int]) -> None:
    """Orphans that came home and have ended; nobody else waits for them."""
    for pid in pids:
        if not procfs.alive(pid):
            os.waitpid(pid, os.WNOHANG)


# ---- experiments in namespaces of their own -------------------------------------

Isolated = Callable[..., subprocess.CompletedProcess[str]]

ISOLATED = """
import errno, os, signal, socket, stat, sys, time
sys.path.insert(0, {checkout!r})
from labkit import mounts, namespaces, overlay, rootfs, rootpath, terminal
from labkit.errors import *
from labkit.linux import procfs, syscalls
from labkit.mounts import Mount
from labkit.namespaces import IdMap
from labkit.spawn import spawn

def raises(kind, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except kind as error:
        return str(error)
    raise AssertionError(f"no {{kind.__name__}}")

def visible(under="/mnt/"):
    new = [mount for mount in procfs.mountinfo() if mount.id not in old]
    return [mount.point for mount in new if mount.point.startswith(under)]

def main():
    old.update(mount.id for mount in procfs.mountinfo())
    mounts.perform([Mount("proc", "/proc", "proc"), Mount("tmpfs", "/mnt", "tmpfs")])
    test()

old = set()
namespaces.unshare(["mnt"])
mounts.make_private()
mounts.propagate("/", {propagation!r})
def test():
{code}
with spawn(["mnt", "pid"], main) as first:
    code = first.wait(60)
sys.exit(code)
"""


@pytest.fixture
def isolated(request: pytest.FixtureRequest, tmp_path: Path) -> Isolated:
    """isolated(code, *argv): run it as the first process of new mount and pid namespaces.

    / is private, as the kernel makes it; tests of mounts set the parameter, to have it shared too,
    as systemd makes it (parametrize with indirect=True). /mnt is an empty tmpfs.
    Layer 1 is imported; raises(kind, function, ...) gives the message, visible() the mounts that
    are new below /mnt. It must end with code 0.
    """

    def run(code: str, *argv: str) -> subprocess.CompletedProcess[str]:
        text = ISOLATED.format(
            checkout=os.path.dirname(os.path.dirname(labkit.__file__)),
            propagation=getattr(request, "param", "rprivate"),
            code=textwrap.indent(textwrap.dedent(code), "    "),
        )
        file = tmp_path / "experiment.py"  # a file, so that a traceback shows its lines
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(file), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, f"{done.returncode}\n{done.stderr}\n{done.stdout}"
        return done

    return run
