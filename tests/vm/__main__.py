"""The cgroup v2 machine: python -m tests.vm [--results DIR] [--timeout SECONDS] [pytest args]

Builds the image if it is not there, boots it, runs the steps below in it, and exits 0 only if every
step came back with 0. With pytest arguments, only pytest runs, with those.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from labkit.errors import LabkitError
from tests.vm import image, machine

PYTEST = ("-m", "pytest", "-v", "-rfEs", "-p", "no:cacheprovider", "-p", "no:nbval", "--color=no")
TIMEOUT = 780


class Step(NamedTuple):
    """What is run in the machine, by its Python, at the root of the repository.

    files: patterns; without a match the step is left out. given: are the matches its arguments?
    """

    name: str
    files: tuple[str, ...]
    arguments: tuple[str, ...]
    given: bool = False


#: what depends on the version of cgroups; all else is tested where pytest itself runs
STEPS = (
    Step(
        "cgroups",
        (
            "tests/vm/test_machine.py",
            "tests/kernel/test_cgroups.py",
            "tests/kernel/test_cgroups_v2.py",
            "tests/kernel/test_bpf.py",
        ),
        (*PYTEST, "--junitxml=/results/cgroups.xml"),
        given=True,
    ),
    Step(
        "notebook 03",
        ("notebooks/solved/03-*.ipynb",),
        ("-m", "labkit.main", "notebooks", "run", "03", "--save", "/results/03.ipynb"),
    ),
)


def planned(step: Step) -> list[str]:
    """Its command line, empty when there is nothing for it in this checkout."""
    found = [path for pattern in step.files for path in sorted(image.REPOSITORY.glob(pattern))]
    names = [str(path.relative_to(image.REPOSITORY)) for path in found] if step.given else []
    return [*step.arguments, *names] if found else []


def script(steps: dict[str, list[str]]) -> str:
    """The /job.sh of these steps: each leaves "STATUS NAME" in /results/status.

    What a step prints goes through a pipe, so that nobody takes the console for a person.
    """
    lines = [
        f"cd {shlex.quote(str(image.REPOSITORY))}",
        "export LABKIT_VM=1 COLUMNS=100 PYTHONUNBUFFERED=1",
        shlex.join([sys.executable, "-m", "labkit.lab.base"]),
    ]
    for name, arguments in steps.items():
        command = shlex.join([sys.executable, *arguments])
        lines.append(f"echo {shlex.quote('== ' + name)}")
        lines.append(f'{{ {command}; echo "$? {name}" >>/results/status; }} 2>&1 | cat')
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--results", type=Path, help="where JUnit files go")
    parser.add_argument("--timeout", type=float, default=TIMEOUT, help="seconds for boot and tests")
    options, pytest = parser.parse_known_args(arguments)
    steps = {step.name: command for step in STEPS if (command := planned(step))}
    if pytest:
        steps = {"pytest": [*PYTEST, "--junitxml=/results/pytest.xml", *pytest]}
    if os.geteuid():
        print("vm: the test machine is built as root: run sudo make test-vm", file=sys.stderr)
        return 1
    try:
        return report(steps, run(steps, options.timeout), options.results)
    except (LabkitError, OSError, subprocess.CalledProcessError) as error:
        print(f"vm: {error}", file=sys.stderr)
        return 1


def run(steps: dict[str, list[str]], timeout: float) -> machine.Outcome:
    started = time.monotonic()
    built = image.ready(lambda text: print(f"vm: {text}", flush=True))
    print(f"vm: image {built} after {time.monotonic() - started:.1f} s", flush=True)
    return machine.run(built, script(steps), image.REPOSITORY, timeout)


def report(steps: dict[str, list[str]], outcome: machine.Outcome, results: Path | None) -> int:
    """Say how each step ended; 0 if all are known to have passed."""
    if results:
        results.mkdir(parents=True, exist_ok=True)
        for name, content in outcome.files.items():
            (results / Path(name).name).write_bytes(content)
    missing = "the time was over" if outcome.timed_out else "nothing came back"
    for name in steps:
        status = outcome.statuses.get(name)
        ended = "passed" if status == 0 else f"failed, exit status {status}"
        print(f"vm: {name}: {missing if status is None else ended}")
    print(f"vm: {outcome.seconds:.1f} s from boot to the end")
    return 0 if all(outcome.statuses.get(name) == 0 for name in steps) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
