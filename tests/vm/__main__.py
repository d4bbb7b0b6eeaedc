"""The cgroup v2 machine: python -m tests.vm [--results DIR] [--timeout SECONDS] [pytest args]

Builds the image if it is not there, boots it, runs the steps below in it, and exits 0 only if every
step came back with 0. With pytest arguments, only pytest runs, with those.
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from labkit.errors import LabkitError
from tests.vm import image, machine

#: step -> (the file that must exist for it, its command in the guest, at the repository's root)
PYTEST = ["-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider", "-p", "no:nbval", "--color=no"]
STEPS = {
    "kernel tests": (
        "tests/vm/test_machine.py",
        [*PYTEST, "--junitxml=/results/kernel.xml", "-m", "cgroup2 or root"],
    ),
}


def script(steps: dict[str, list[str]]) -> str:
    """The /job.sh of these steps: each leaves "STATUS NAME" in /results/status."""
    lines = [f"cd {shlex.quote(str(image.REPOSITORY))}", "export LABKIT_VM=1 COLUMNS=100"]
    for name, arguments in steps.items():
        command = shlex.join([sys.executable, *arguments])
        lines += [f"echo {shlex.quote('== ' + name)}", command]
        lines.append(f'echo "$? {name}" >>/results/status')
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument("--results", type=Path, help="where JUnit files go")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for boot and tests")
    options, pytest = parser.parse_known_args(arguments)
    steps = {
        name: command + (["tests/kernel", "tests/vm"] if "pytest" in command else [])
        for name, (needed, command) in STEPS.items()
        if list(image.REPOSITORY.glob(needed))
    }
    if pytest:
        steps = {"pytest": [*PYTEST, "--junitxml=/results/pytest.xml", *pytest]}
    if os.geteuid():
        print("vm: the test machine is built as root: run sudo make test-vm", file=sys.stderr)
        return 1
    try:
        return report(steps, run(steps, options.timeout), options.results)
    except LabkitError as error:
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
    why = "the time was over" if outcome.timed_out else "nothing came back"
    for name in steps:
        status = outcome.statuses.get(name)
        print(f"vm: {name}: {why if status is None else 'passed' if not status else status}")
    print(f"vm: {outcome.seconds:.1f} s from boot to the end")
    return 0 if all(outcome.statuses.get(name) == 0 for name in steps) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
