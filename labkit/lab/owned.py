"""How much of `docker run` the learner owns: each part of the command, and who teaches it.

A part is owned when every exercise of its notebook has passed.
"""

from collections.abc import Iterable

from labkit.lab import exercises
from labkit.lab.card import Card
from labkit.lab.progress import Progress

#: part of the command line -> (what it is underneath, notebook)
PARTS = {
    "a running container": ("a process with constraints", "01"),
    "--hostname --pid --ipc": ("namespaces(7), pivot_root(2)", "02"),
    "--memory --cpus --pids-limit": ("cgroups(7)", "03"),
    "the file system it sees": ("overlay mounts", "04"),
    "IMAGE": ("layers, manifest, registry", "05"),
    "--volume --mount --tmpfs": ("bind mounts, volumes", "06"),
    "--publish --network --dns": ("veth, bridge, nat, names", "07"),
    "--user --cap-drop --read-only": ("credentials, seccomp", "08"),
    "--init, exec, the exit code": ("an OCI runtime, a keeper", "09"),
    "--detach --restart --name": ("the daemon", "10"),
    "docker compose up": ("many runs in the right order", "11"),
    "docker build": ("a Dockerfile, cached step by step", "12"),
    "when it breaks": ("all of it, under faults", "13"),
}


def owned(progress: Progress) -> Card:
    """The map as a Card: one line for each part, and how many are owned."""
    available = exercises.numbers()
    states = {part: _state(progress, number, available) for part, (_, number) in PARTS.items()}
    facts: dict[str, object] = {
        part: f"{states[part]:18}{PARTS[part][1]}  {PARTS[part][0]}" for part in PARTS
    }
    count = sum(state == "owned" for state in states.values())
    facts["in all"] = f"{count} of {len(PARTS)} parts owned"
    return Card("how much of docker run you own", facts)


def _state(progress: Progress, number: str, available: Iterable[str]) -> str:
    if number not in available:
        return "later"
    ids = [exercise.id for exercise in exercises.of(number)]
    passed = sum(bool(progress.exercise(id)["passed"]) for id in ids)
    return "owned" if ids and passed == len(ids) else f"{passed} of {len(ids)} passed"
