"""The guard itself: each kind of object that a test can leave is found, and named."""

import json
import os
import subprocess
import sys

import pytest

from labkit.linux import procfs
from labkit.paths import Instance
from tests import leaks

pytestmark = pytest.mark.root


@pytest.fixture
def left():
    """left(): what has been added since the test began, without waiting for it to go."""
    instance = Instance()
    before = leaks.of_instance(instance)
    return lambda: leaks.added(before, leaks.of_instance(instance))


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def sleeper(*words):
    """A process that nobody waits for: its parent has gone."""
    done = subprocess.run(
        [*words, sys.executable, "-I", "-S", "-c",
         "import os, sys, time\npid = os.fork()\nif pid: print(pid); sys.exit()\n"
         "os.setsid(); [os.close(fd) for fd in (0, 1, 2)]; time.sleep(60)"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return int(done.stdout)


def end(pid):
    os.kill(pid, 9)
    os.waitpid(pid, 0)


def test_nothing_done_is_nothing_left(left) -> None:
    assert left() == []


def test_a_mount_is_found_and_one_that_vanished_too(tmp_path) -> None:
    """In a picture: a mount namespace of this process's own is not to be had here."""
    before = {"mounts": ["/a tmpfs a /", "/b tmpfs b /"]}
    after = {"mounts": ["/a tmpfs a /", "/a tmpfs a /"]}
    found = leaks.added(before, after)
    assert found == ["mounts: /a tmpfs a /", "mounts, unmounted: /b tmpfs b /"]
    assert any(line.startswith("/proc proc ") for line in leaks.mounts())


def test_a_cgroup_with_our_tag_is_found_and_another_one_is_not(left) -> None:
    point = next(m.point for m in procfs.mountinfo() if m.fstype.startswith("cgroup"))
    ours, other = os.path.join(point, Instance().name("leak")), os.path.join(point, "labkit-other")
    os.mkdir(ours)
    os.mkdir(other)
    try:
        assert left() == [f"cgroups: {ours}"]
    finally:
        os.rmdir(ours)
        os.rmdir(other)


def test_a_network_namespace_with_our_tag_is_found(left) -> None:
    """A name is a file in the directory. (`ip netns add` would mount the directory too.)"""
    path = os.path.join(Instance().run, "netns", Instance().name("leak"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").close()
    try:
        assert left() == [f"netns: {path}"]
    finally:
        os.unlink(path)


def test_a_link_with_our_tag_is_found(left) -> None:
    name = Instance().link("leak")
    run("ip", "link", "add", name, "type", "bridge")
    try:
        assert left() == [f"links: {name}"]
    finally:
        run("ip", "link", "delete", name)


def test_an_nft_table_with_our_tag_is_found(left) -> None:
    name = Instance().name("leak")
    run("nft", "add", "table", "ip", name)
    try:
        assert left() == [f"nft tables: table ip {name}"]
    finally:
        run("nft", "delete", "table", "ip", name)


def test_an_orphan_comes_home_and_is_found(left) -> None:
    pid = sleeper("env", "-i")
    try:
        (found,) = left()
        assert found.startswith(f"processes: {pid} started ") and "time.sleep(60)" in found
    finally:
        end(pid)
    assert left() == []


def test_what_goes_by_itself_is_waited_for(left) -> None:
    before = leaks.of_instance(Instance())
    with subprocess.Popen(["sleep", "0.3"]) as process:
        assert leaks.settled(before, lambda: leaks.of_instance(Instance())) == []
        assert process.wait() == 0


# ---- the whole machine ------------------------------------------------------------------


def cli(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.leaks", *arguments],
        cwd=leaks.CHECKOUT, capture_output=True, text=True,
    )  # fmt: skip


def test_the_command_names_a_process_that_knows_our_root(tmp_path) -> None:
    picture = str(tmp_path / "machine.json")
    assert cli("snapshot", picture).returncode == 0
    with open(picture) as file:
        before = json.load(file)
    pid = sleeper()
    words = (Instance().root, leaks.CHECKOUT)
    try:
        assert leaks.carries(pid, words), "in its environment"
        found = leaks.added(before, leaks.of_machine(Instance()))
        assert any(line.startswith(f"processes: {pid} started ") for line in found)
    finally:
        end(pid)
    assert set(before) == {"mounts", "netns", "links", "cgroups", "nft rules", "processes"}


def test_the_command_refuses_other_words() -> None:
    done = cli("compare")
    assert (done.returncode, done.stderr) == (
        2, "usage: python -m tests.leaks snapshot|compare FILE\n",
    )  # fmt: skip


# ---- in a run of pytest -----------------------------------------------------------------


@pytest.fixture
def pytest_run(tmp_path):
    """Run pytest on the text of one test file, with our conftest; gives the finished process."""

    def run(text, *arguments, command=()):
        with open(os.path.join(leaks.CHECKOUT, "tests/conftest.py")) as file:
            (tmp_path / "conftest.py").write_text(file.read())
        (tmp_path / "test_it.py").write_text(text)
        return subprocess.run(
            [*command, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c",
             os.path.join(leaks.CHECKOUT, "pyproject.toml"), f"--rootdir={leaks.CHECKOUT}",
             f"--confcutdir={tmp_path}", *arguments, str(tmp_path)],
            cwd=leaks.CHECKOUT, capture_output=True, text=True,
        )  # fmt: skip

    return run


LEAKY = """
import subprocess, sys, pytest
pytestmark = pytest.mark.root
def test_that_leaves_a_process_behind():
    code = "import os, time\\nif os.fork() == 0: os.closerange(0, 3); time.sleep(30)"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
def test_after_it():
    pass
"""


def test_a_leaking_test_fails_and_the_next_one_does_not(pytest_run) -> None:
    done = pytest_run(LEAKY)
    try:
        assert "left behind:\n  processes: " in done.stdout.replace("E       ", "").replace(
            "E   ", ""
        ), done.stdout
        assert "2 passed, 1 error" in done.stdout
    finally:
        for pid in procfs.children(os.getpid()):  # the orphan has come on to us
            end(pid)


def test_a_run_in_which_nothing_ran_fails(pytest_run) -> None:
    skipped = "import pytest\ndef test_it(): pytest.skip('no moon')\n"
    assert pytest_run(skipped).returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert pytest_run("def test_it(): pass\n").returncode == 0
    assert pytest_run(skipped, "--collect-only").returncode == 0


def test_root_tests_are_errors_for_others_and_not_skipped(pytest_run, tmp_path) -> None:
    text = "import pytest\n@pytest.mark.root\ndef test_it(): pass\n"
    program = "import os\nos.geteuid = lambda: 1000\n" + text
    done = pytest_run(program)
    assert done.returncode == 1 and "needs root: run `sudo make test`" in done.stdout
    assert "1 error" in done.stdout


def test_cgroup2_tests_are_skipped_with_the_reason(pytest_run) -> None:
    text = (
        "import pytest\nfrom labkit import cgroups\ncgroups.detect = lambda: 'v1'\n"
        "@pytest.mark.cgroup2\ndef test_it(): raise AssertionError\ndef test_other(): pass\n"
    )
    done = pytest_run(text, "-rs")
    assert "needs cgroup v2, this machine has v1" in done.stdout and "1 skipped" in done.stdout
    assert done.returncode == 0


def test_a_run_has_an_instance_of_its_own_and_removes_it(pytest_run) -> None:
    text = (
        "import os\nfrom labkit.paths import DEFAULT_ROOT, Instance\n"
        "def test_it():\n    print(Instance().root)\n    assert os.path.isdir(Instance().root)\n"
        "    assert Instance().root != DEFAULT_ROOT\n"
    )
    done = pytest_run(text, "-s", command=("env", "-u", "LABKIT_ROOT", "-u", "LABKIT_RUN"))
    assert done.returncode == 0
    root = next(line for line in done.stdout.splitlines() if "labkit-test-" in line)
    assert not os.path.exists(os.path.dirname(root.strip(".")))
