#!/usr/bin/env python3
"""Run every test of the kit, one stage after another, and say in the end what ran and what did not.

`make test` calls it after the set-up. The virtual machine is slow and mostly waits, so it runs in
the background from the beginning and is joined in the end. A stage fails when a test fails, when
nothing ran, and, with CI set, when a test was skipped for a reason that is not in EXPECTED_SKIPS.

    .venv/bin/python scripts/test.py [STAGE ...]

Each stage leaves build/test/STAGE.log and STAGE.xml. A run that was killed leaves kernel objects:
the next one begins with `labkit reset` and takes its picture of the machine after that.
"""

import ctypes
import glob
import itertools
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUTPUT = os.path.join(CHECKOUT, "build", "test")
PYTHON = sys.executable
OTHER_PYTHON = os.path.join(CHECKOUT, "build", "other-python", "bin", "python")
if not os.access(OTHER_PYTHON, os.X_OK):  # scripts/setup.py makes it, where it can
    OTHER_PYTHON = PYTHON
PR_SET_PDEATHSIG = 1
TIMEOUT = 900  # seconds for one stage; then it is killed and counts as failed

#: Beginnings of reasons for which a test may be skipped in CI, because it runs elsewhere.
EXPECTED_SKIPS = (
    "needs cgroup v2",  # run in the virtual machine, stage vm
    "no cgroup v1 controller is mounted",  # in the virtual machine; run outside
    "these tests describe the QEMU machine",  # the same
    "skipped, because this machine has no cgroup v2",  # cells; run and compared in the same machine
    "skipped, because there is no usable /dev/kvm",  # cells; a machine may lack it
    "needs vagrant, which this distribution does not package",  # Ubuntu; Debian must have it
    "needs chromium, which this distribution does not package",  # the same
    "not compared",  # attendee notebooks have no outputs; their solved twins are compared
)


class Stage:
    """A name, the program that runs it, and whether it runs beside the others."""

    def __init__(self, name, *argv, background=False, env=()):
        self.name = name
        self.argv = argv
        self.background = background
        self.env = dict(env)
        self.child = None
        self.code = None
        self.seconds = 0.0
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.skips = []

    @property
    def log(self):
        return os.path.join(OUTPUT, f"{self.name}.log")

    @property
    def reports(self):
        """JUnit files; the virtual machine hands back one for each of its steps."""
        pattern = os.path.join(OUTPUT, glob.escape(self.name))
        return sorted(glob.glob(pattern + ".xml") + glob.glob(pattern + "/*.xml"))

    @property
    def surprising(self):
        return [reason for reason in self.skips if not reason.startswith(EXPECTED_SKIPS)]

    @property
    def verdict(self):
        if self.code != 0:
            return f"FAILED, exit code {self.code}"
        if self.counts["failed"]:
            return "FAILED"
        if not self.counts["passed"]:
            return "FAILED, ran nothing"
        if self.surprising and os.environ.get("CI"):
            return "FAILED, skipped tests"
        return "ok"


def tests(name, *arguments, python=PYTHON, env=()):
    """A stage of pytest: short output, every skip with its reason, a JUnit file."""
    report = f"--junitxml={os.path.join(OUTPUT, name)}.xml"
    return Stage(name, python, "-m", "pytest", "-q", "-rfEs", report, *arguments, env=env)


STAGES = (
    Stage("vm", PYTHON, "-m", "tests.vm", "--results", f"{OUTPUT}/vm", background=True),
    tests("unit", "tests/unit"),
    tests("kernel", "tests/kernel"),
    tests("lab", "tests/lab"),
    tests("notebooks", "--nbval", "notebooks"),
    tests("other", "--nbval", "notebooks", python=OTHER_PYTHON, env={"LABKIT_SEED": "20"}),
    tests("exercises", "tests/exercises"),
    tests("machinery", "tests/notebooks"),
    tests("browser", "tests/browser"),
)


def main(names):
    unknown = set(names) - {stage.name for stage in STAGES}
    if unknown:
        known = " ".join(stage.name for stage in STAGES)
        print(f"labkit: no stage {' '.join(sorted(unknown))}; there are: {known}", file=sys.stderr)
        return 2
    die_with_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(CHECKOUT)
    os.makedirs(OUTPUT, exist_ok=True)
    stages = [stage for stage in STAGES if not names or stage.name in names]
    try:
        return run(stages)
    except KeyboardInterrupt:
        print("\nlabkit: stopped", file=sys.stderr)
        return 130
    finally:
        for stage in stages:
            stop(stage)


def run(stages):
    """Every stage between two pictures of the machine; the exit status of all of it."""
    subprocess.run([PYTHON, "-m", "labkit.main", "reset"], check=True)
    picture = os.path.join(OUTPUT, "machine.json")
    subprocess.run([PYTHON, "-m", "tests.leaks", "snapshot", picture], check=True)
    background = [stage for stage in stages if stage.background]
    for stage in background:
        start(stage)
    for stage in stages:
        if not stage.background:
            heading(f"{stage.name}: {' '.join(stage.argv[1:])}")
            start(stage)
            join(stage, show=True)
    for stage in background:
        heading(f"{stage.name}: {' '.join(stage.argv[1:])}, running since the beginning")
        join(stage, show=True)
    heading("what the tests left on this machine")
    leaks = subprocess.call([PYTHON, "-m", "tests.leaks", "compare", picture])
    return summary(stages, leaks)


def heading(text):
    print(f"\n== {text}", flush=True)


def start(stage):
    """Start the stage in a process group of its own, with its output in its log."""
    for old in stage.reports:
        os.unlink(old)
    stage.began = time.monotonic()
    with open(stage.log, "wb") as log:
        stage.child = subprocess.Popen(
            stage.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, **stage.env),
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def join(stage, show):
    """Wait for the stage, copying its log to the screen; then read its report."""
    with open(stage.log, encoding="utf-8", errors="replace") as log:
        while stage.child.poll() is None:
            print_new(log)
            if time.monotonic() - stage.began > TIMEOUT:
                print(f"\nlabkit: {stage.name} took more than {TIMEOUT} s", flush=True)
                stop(stage)
            time.sleep(0.1)
        print_new(log)
    stage.code = stage.child.returncode
    stage.seconds = time.monotonic() - stage.began
    read_report(stage)


def print_new(log):
    text = log.read()
    if text:
        print(text, end="", flush=True)


def read_report(stage):
    """Count the test cases of the JUnit files and keep why some were skipped."""
    for case in itertools.chain.from_iterable(map(cases, stage.reports)):
        kinds = {child.tag: child.get("message", "") for child in case}
        if "failure" in kinds or "error" in kinds:
            stage.counts["failed"] += 1
        elif "skipped" in kinds:
            stage.counts["skipped"] += 1
            stage.skips.append(kinds["skipped"])
        else:
            stage.counts["passed"] += 1


def cases(report):
    """The test cases of one JUnit file; none when a killed stage left half of it."""
    try:
        return list(ElementTree.parse(report).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []


def summary(stages, leaks):
    """The table, every surprising skip with its reason, and one closing line."""
    heading("summary")
    print(f"{'stage':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}  verdict")
    for stage in stages:
        row = "".join(f"{stage.counts[key]:>{8 + (key == 'skipped')}}" for key in stage.counts)
        print(f"{stage.name:<12}{row}{stage.seconds:>9.0f}  {stage.verdict}")
        for reason in sorted(set(stage.surprising)):
            print(f"{'':<12}skipped: {reason}")
    print(f"{'leaks':<12}{'':>34}  {'FAILED' if leaks else 'ok, nothing was left'}")
    bad = [stage.name for stage in stages if stage.verdict != "ok"] + ["leaks"] * bool(leaks)
    total = {key: sum(stage.counts[key] for stage in stages) for key in ("passed", "failed")}
    if bad:
        print(f"failed: {', '.join(bad)}; logs in {OUTPUT}")
    total["failed"] = max(total["failed"], len(bad))
    print(f"{total['passed']} passed, {total['failed']} failed", flush=True)
    return 1 if bad else 0


def stop(stage):
    """Kill what is left of a stage's process group."""
    if stage.child is not None and stage.child.poll() is None:
        os.killpg(stage.child.pid, signal.SIGTERM)
        try:
            stage.child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(stage.child.pid, signal.SIGKILL)
            stage.child.wait()


def die_with_parent():
    """A killed `make test` takes everything with it, prctl(2)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
