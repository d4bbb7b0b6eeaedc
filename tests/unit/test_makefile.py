"""The commands of the README exist, explain themselves, and fail with one sentence."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    """scripts/ is no package: load one of its programs as a module."""
    spec = importlib.util.spec_from_file_location(
        f"scripts_{name}", CHECKOUT / f"scripts/{name}.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup() -> ModuleType:
    return load("setup")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A make of its own, also when these tests run below another one."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=CHECKOUT, env=env, capture_output=True, text=True
    )


def test_make_alone_lists_every_target_with_a_line_of_help() -> None:
    text = (CHECKOUT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)
    assert phony
    shown = dict(re.findall(r"^  ([a-z-]+)\s+(\S.*)$", make().stdout, re.M))
    assert set(shown) == set(phony[1].split())


@pytest.mark.parametrize("target", ["lab", "test", "test-vm", "batch", "setup"])
def test_every_target_begins_with_the_same_set_up(target: str) -> None:
    first = make("--dry-run", target).stdout.splitlines()[0]
    assert first.startswith(f"python3 scripts/setup.py --goal {target}")


def test_tests_have_an_instance_of_their_own() -> None:
    text = (CHECKOUT / "Makefile").read_text()
    assert re.search(r"^test test-vm: export LABKIT_ROOT .*/var/lib/labkit-test", text, re.M)
    assert re.search(r"^test test-vm: export LABKIT_RUN .*/run/labkit-test", text, re.M)


def test_ci_runs_the_command_that_the_readme_names() -> None:
    lines = (CHECKOUT / ".ci/run").read_text().splitlines()
    commands = [line.strip() for line in lines if "make" in line and not line.startswith("#")]
    assert commands == ["exec make test", "exec sudo --preserve-env=CI make test"]
    assert "sudo make test" in (CHECKOUT / "README.md").read_text()


def test_without_root_one_sentence_names_the_fix(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["setup.py", "--goal", "lab"])
    assert setup.main() == 1
    assert capsys.readouterr().err == "labkit: labkit needs root here; run: sudo make lab\n"


def test_an_old_python_is_named_with_the_fix(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_PYTHON", raising=False)
    monkeypatch.setattr(setup, "ask_python", lambda name: ("/usr/bin/python3", (3, 9)))
    with pytest.raises(
        setup.Refused, match=r"3\.11 or newer is needed and /usr/bin/python3 is 3\.9"
    ):
        setup.find_python()


def test_on_another_system_the_vm_is_named(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(sys, "argv", ["setup.py"])
    assert setup.main() == 1
    assert "Darwin has no namespaces; run: cd vagrant && vagrant up" in capsys.readouterr().err


def test_a_program_that_fails_shows_its_last_lines_and_the_log(
    setup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(setup, "LOG", str(tmp_path / "setup.log"))
    with pytest.raises(setup.Refused, match="the trial failed, exit code 3"):
        setup.run([sys.executable, "-c", "print('why'); raise SystemExit(3)"], "the trial")
    assert capsys.readouterr().err == "why\n"


@pytest.mark.parametrize(
    "release, machine, expected, absent",
    [
        (
            'ID=debian\nVERSION_ID="12"\n',
            "x86_64",
            {"qemu-system-x86", "chromium"},
            "qemu-system-arm",
        ),
        ('ID=debian\nVERSION_ID="13"\n', "aarch64", {"qemu-system-arm"}, "qemu-system-x86"),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "x86_64", {"runc"}, "chromium"),
    ],
)
def test_the_list_names_packages_by_distribution_and_architecture(
    setup: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    release: str,
    machine: str,
    expected: set[str],
    absent: str,
) -> None:
    (tmp_path / "os-release").write_text(release)
    monkeypatch.setattr(setup, "OS_RELEASE", str(tmp_path / "os-release"))
    monkeypatch.setattr(setup.platform, "machine", lambda: machine)
    names = setup.wanted(tests=True)
    assert expected <= set(names)
    assert absent not in names
    assert set(setup.wanted(tests=False)) < set(names)


def test_every_line_of_the_list_has_a_class_and_a_reason(setup: ModuleType) -> None:
    for line in (CHECKOUT / "scripts/packages.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            kind, _, _, reason = line.split(maxsplit=3)
            assert kind in ("needed", "tests"), line
            assert reason, line


def test_uv_is_pinned_by_hash() -> None:
    text = (CHECKOUT / "scripts/uv.txt").read_text()
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) == 2


def test_a_stage_in_which_nothing_ran_has_failed() -> None:
    stage = load("test").Stage("empty")
    stage.code = 0
    assert stage.verdict == "FAILED, ran nothing"


def test_an_unexpected_skip_fails_in_ci_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = load("test").Stage("some")
    stage.code, stage.counts["passed"] = 0, 1
    stage.skips = ["needs cgroup v2 with controllers", "the moon is full"]
    monkeypatch.delenv("CI", raising=False)
    assert stage.verdict == "ok"
    assert stage.surprising == ["the moon is full"]
    monkeypatch.setenv("CI", "true")
    assert stage.verdict == "FAILED, skipped tests"


def test_an_unknown_stage_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert load("test").main(["kernle"]) == 2
    error = capsys.readouterr().err
    assert "no stage kernle" in error
    assert "kernel" in error
