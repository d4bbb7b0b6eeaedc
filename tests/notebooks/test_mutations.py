"""Faults that an attendee's world could have, put into the real notebooks: nbval must turn red.

One line here for each thing that a notebook's output must prove. `find` is text of one code cell
of the solved notebook, `replace` what breaks it, `shown` text of the cell whose output shows it, if
that is another one. Only what is needed is run; without a fault it must be green.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labkit.lab.notebooks.build import load
from labkit.lab.notebooks.shelf import Shelf
from tests.notebooks.sabotage import Mutation, nbval, prepare

SHELF = Shelf(Path(__file__).parents[2])

#: as many for each notebook that is there
LEAST = 2

#: notebook -> (find, replace, what is broken[, shown])
TABLE: dict[str, list[tuple[str, ...]]] = {
    "00-start-here": [
        ("outcomes = reset(lab.instance)", "outcomes = []", "reset"),
        ("started + 1)", "started)", "telling owners apart by their start time"),
    ],
    "01-a-container-is-a-process": [
        ('hostname="tiny")\nname', 'kinds=["mnt", "uts"], hostname="tiny")\nname', "its own ps"),
        ('hostname="tiny")\nwho', 'kinds=["mnt", "pid"])\nwho', "a host name of its own"),
        ('Sandbox(["sleep", "1000"]), lab', 'Sandbox(["sleep", "1000"], ["mnt"]), lab', "two pids"),
        ('open(f"{box.root}/root/note"', 'open("/dev/null"', "the way in"),
        (
            "start_containers(containers)",
            "start_containers(containers + 1)",
            "how many start",
        ),
    ],
    "02-namespaces": [
        (
            'unshare(CLONE_NEWUTS)\nsethostname("mine")\nprint(before',
            'sethostname("mine")\nprint(before',
            "a host name of its own",
            "names = Names(world.namespaces()",
        ),
        ('rows | {"container": box}', "rows", "the data of the map"),
        ('m.run("unshare(CLONE_NEWNS); ', 'm.run("', "mounts of its own"),
        ('setns(mnt)"', 'setns(uts)"', "the order of joining"),
        ("careless, {orphans}, 0", "careless, {orphans} - 1, 0", "the number of zombies"),
        (
            'kinds.unshare(["user"])',
            'kinds.unshare(["uts"])',
            "the exception in a threaded process",
        ),
        ("unshare(CLONE_NEWNET)\nsecond", "second", "a network of its own"),
    ],
    "03-cgroups": [
        ("bytearray(80 <<", "bytearray(8 <<", "whom the kernel kills", "with swarm.start():"),
        (
            "limits = Limits(memory_max=memory_mib * MIB, memory_swap_max=0)\nweb",
            "limits = Limits()\nweb",
            "the limit for memory",
        ),
        ("memory.set(max(16, memory_mib // 2))", "", "the limit that moves"),
        ('"capped", Limits(cpu_max=cpu_percent / 100)', '"capped"', "the ceiling for CPU time"),
        ('cpus="0", cpu_weight=300', 'cpus="0", cpu_weight=100', "the share of the CPU"),
        ('"few", Limits(pids_max=max_pids)', '"few"', "the number of processes"),
        ("ex.group.freeze()\n", "", "the freezer"),
        ("IoMax(wbps=2 * MIB)", "IoMax(wbps=2000 * MIB)", "the limit for the disk"),
        ("ours.set(wish)", "", "the comparison with runc", "limits_by_runc(world, wish)"),
    ],
}

MUTATIONS = {stem: [Mutation(stem, *row) for row in rows] for stem, rows in TABLE.items()}
CASES = [
    pytest.param(stem, number, id=f"{stem}: {mutation.breaks}")
    for stem, mutations in MUTATIONS.items()
    for number, mutation in enumerate(mutations)
]
SOLVED = sorted(path.stem for path in (SHELF.notebooks / "solved").glob("*.ipynb"))


#: a run of nbval takes this many faults of one notebook, and so many runs go on at once
CHUNK, AT_ONCE = 5, 4
JOBS = [(stem, n) for stem in reversed(MUTATIONS) for n in range(0, len(MUTATIONS[stem]), CHUNK)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """job -> a run of nbval over all its copies, and the numbers of the cells that show a fault.

    Several at once: their names in the kernel differ, and much of the time is waiting.
    """
    roots = {job: tmp_path_factory.mktemp(f"{job[0]}-{job[1]}-") for job in JOBS}

    def one(job):
        stem, first = job
        faults = MUTATIONS[stem][first : first + CHUNK]
        numbers = prepare(load(SHELF.solved(stem)), faults, roots[job] / "notebooks/solved")
        return nbval(roots[job]), numbers

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(JOBS, pool.map(one, JOBS), strict=True))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: f"{job[0]}-{job[1]}")
def test_without_a_fault_all_is_green(run, job):
    said, numbers = run[job]
    green = f"{job[0]}-green"
    bad = [text for (copy, _), text in said.reasons.items() if copy == green and text]
    assert all("skipped, because" in text for text in bad), bad
    assert all(said.cells[green, number] == "passed" for number in numbers)


@pytest.mark.parametrize(("stem", "number"), CASES)
def test_fault_turns_nbval_red(run, stem, number):
    place = number % CHUNK
    said, numbers = run[stem, number - place]
    assert said.cells[f"{stem}-red{place}", numbers[place]] == "failure"


@pytest.mark.parametrize("stem", SOLVED)
def test_every_notebook_has_faults(stem):
    assert len(MUTATIONS.get(stem, [])) >= LEAST
