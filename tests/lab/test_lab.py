import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import labkit.lab
from labkit.errors import Conflict, InvalidParameter
from labkit.lab import Lab, ledger
from labkit.paths import Instance

Python = Callable[[str], str]
Out = pytest.CaptureFixture[str]


def test_importing_the_package_is_light(python: Python) -> None:
    heavy = "('IPython', 'ipywidgets', 'matplotlib', 'pyroute2', 'subprocess', 'threading')"
    code = f"import sys, labkit.lab; print([name for name in {heavy} if name in sys.modules])"
    assert python(code) == "[]\n"


def test_every_public_name_can_be_had() -> None:
    assert all(getattr(labkit.lab, name) is not None for name in labkit.lab.__all__)
    assert set(labkit.lab.__all__) <= set(dir(labkit.lab))
    with pytest.raises(AttributeError, match="no attribute 'Labor'"):
        _ = labkit.lab.Labor


def test_second_run_of_the_cell_is_the_same_lab(seat: Instance) -> None:
    assert Lab("02") is Lab("02") is Lab(2)


def test_another_number_closes_the_first(seat: Instance) -> None:
    first = Lab("01")
    second = Lab("02")
    assert (second.number, second.owner) == ("02", "nb02")
    assert ledger.owners(seat) == ["nb02"]
    with pytest.raises(Conflict, match='run Lab\\("01"\\) again'):
        first.world()


@pytest.mark.parametrize("number", ["2", "002", "nb", "", -1, 100, None])
def test_number_is_two_digits(seat: Instance, number: object) -> None:
    with pytest.raises(InvalidParameter, match="two digits, such as '02', not"):
        Lab(number)  # type: ignore[arg-type]


def test_ledger_goes_with_the_kernel(seat: Instance, python: Python) -> None:
    out = python("from labkit.lab import Lab; lab = Lab('02'); print(lab.owner)")
    assert out == "nb02\n"
    assert ledger.owners(seat) == []


def test_kernel_that_ends_removes_what_it_made(seat: Instance, python: Python) -> None:
    python("""
import os
from labkit.lab import Lab
lab = Lab("02")
os.makedirs(lab.ledger.record("path", f"{lab.instance.root}/a"))
""")
    assert os.listdir(seat.root) == []


def test_leftovers_of_a_killed_kernel_are_removed_at_the_next_start(
    seat: Instance, python: Python, capsys: Out
) -> None:
    python("""
import os
from labkit.lab import Lab
lab = Lab("02")
os.makedirs(lab.ledger.record("path", f"{lab.instance.root}/a"))
os.kill(os.getpid(), 9)
""")
    assert os.listdir(seat.root) == ["a"]
    Lab("01")
    assert os.listdir(seat.root) == ["a"], "that is another notebook's"
    lab = Lab("02")
    assert os.listdir(seat.root) == []
    assert [outcome.what for outcome in lab.leftovers] == ["removed"]
    assert "[note] an earlier kernel of this notebook died: removed 1 path" in (
        capsys.readouterr().out
    )


def test_note_about_leftovers_is_not_in_compared_output(
    seat: Instance, python: Python, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_BATCH", "1")
    python(
        "import os; from labkit.lab import Lab; Lab('02').ledger.record('path', "
        "os.environ['LABKIT_ROOT'] + '/a'); os.kill(os.getpid(), 9)"
    )
    assert Lab("02").leftovers and capsys.readouterr().out == ""


def test_same_notebook_in_two_kernels_gets_two_seats(seat: Instance, python: Python) -> None:
    assert Lab("02").owner == "nb02"
    assert python("from labkit.lab import Lab; print(Lab('02').owner)") == "nb02-2\n"
    assert ledger.owners(seat) == ["nb02"]


def test_forked_child_does_not_clean_up_for_its_parent(seat: Instance, python: Python) -> None:
    out = python("""
import os
from labkit.lab import Lab
lab = Lab("02")
os.makedirs(lab.ledger.record("path", f"{lab.instance.root}/a"))
pid = os.fork()
if pid == 0:
    raise SystemExit  # atexit runs here too
os.waitpid(pid, 0)
print(os.listdir(lab.instance.root))
""")
    assert out == "['a']\n"


def test_reset_removes_and_counts_and_is_idempotent(seat: Instance, capsys: Out) -> None:
    lab = Lab("02")
    for name in ("a", "b"):
        os.makedirs(lab.ledger.record("path", f"{seat.root}/{name}"))
    lab.progress.mark("02.1", {"passed": True})
    lab.reset()
    lab.reset()
    assert capsys.readouterr().out.splitlines() == [
        "[reset] notebook 02: removed 2 paths",
        "[reset] notebook 02: nothing was left",
    ]
    assert os.listdir(seat.root) == []
    assert lab.progress.exercise("02.1")["passed"]


def test_reset_of_one_kind_leaves_the_rest(seat: Instance, capsys: Out) -> None:
    lab = Lab("02")
    os.makedirs(lab.ledger.record("path", f"{seat.root}/a"))
    lab.reset(only="cgroup")
    assert os.listdir(seat.root) == ["a"]


def test_reset_stops_exercises_and_they_can_start_again(
    seat: Instance, count: type, capsys: Out
) -> None:
    lab = Lab("02")
    exercise = lab.exercise("02.1")
    lab.reset()
    assert count.stopped == 1  # type: ignore[attr-defined]
    exercise.reset()
    exercise.check(3)
    assert "[passed]" in capsys.readouterr().out
    lab.close()
    assert count.stopped == 2  # type: ignore[attr-defined]


def test_seed_comes_from_the_environment_and_draws_depend_on_it(
    seat: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab("02")
    assert lab.seed == 7
    first = lab.draw("02.1").nonce()
    monkeypatch.setenv("LABKIT_SEED", "8")
    assert lab.draw("02.1").nonce() != first


def test_run_directory_that_is_not_ours_gets_one_sentence(seat: Instance, tmp_path: Path) -> None:
    """Run as another user, since root may write everywhere."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    code = "import os, labkit.lab.lab as lab; os.setgid(65534); os.setuid(65534); lab.Lab('02')"
    environment = os.environ | {
        "LABKIT_RUN": "/run/labkit-not-yours",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd="/"
    )
    assert result.stderr.splitlines()[-1] == (
        "labkit.errors.Forbidden: /run/labkit-not-yours cannot be used: run JupyterLab as root, "
        "or set LABKIT_ROOT and LABKIT_RUN to folders of yours"
    )


@pytest.mark.root
def test_world_is_one_until_other_limits_are_asked_for(seat: Instance, capsys: Out) -> None:
    lab = Lab("02")
    world = lab.world(memory_mib=128)
    assert lab.world() is world is lab.world(memory_mib=128)
    other = lab.world(memory_mib=96)
    assert other is not world and not world.alive
    assert lab.world(pids=64).cgroup.limits().memory_max == 96 << 20
    lab.reset()
    assert not lab.world().cgroup.limits().memory_max == 256 << 20
    lab.close()
    assert ledger.owners(seat) == []


@pytest.mark.root
def test_world_of_a_killed_kernel_is_cleaned_up(seat: Instance, python: Python) -> None:
    python("""
import os
from labkit.lab import Lab
lab = Lab("02")
lab.world().child("a")
os.kill(os.getpid(), 9)
""")
    lab = Lab("02")
    assert {o.what for o in lab.leftovers} <= {"removed", "was gone"}
    assert "removed" in {o.what for o in lab.leftovers}
    from labkit.lab.leftovers import leftovers

    assert leftovers(seat) == []
