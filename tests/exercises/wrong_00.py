"""Wrong answers of notebook 00 and what the check says to them."""

_ALL_BY_FORCE = """
from labkit.lab.ledger import owners
for owner in owners(lab.instance):
    if owner != lab.owner:
        reset(lab.instance, owner, force=True)
"""

_DELETE_THE_NOTE = """
import os
from labkit.lab import ledger
os.unlink(ledger.path_of(lab.instance, ex.dead.owner))
"""

WRONG = {
    "00.1": [
        ("diagnose()", "the doctor is still red, the kernel has labkit-"),
        (_DELETE_THE_NOTE, "the note was deleted, but the kernel still has labkit-"),
        (_ALL_BY_FORCE, "belonged to a live process and is gone"),
        ("lab.reset()", "the stage is stopped"),
    ],
    "00.2": [
        (
            "import os\nanswer = next(n for n, p in ex.processes.items() if p == os.getppid())",
            "is the parent of this notebook's process",
        ),
        (
            "from labkit.linux import procfs\nparents = list(ex.processes.values())\n"
            "answer = next(n for n, p in ex.processes.items() "
            "if int(procfs.status(p)['PPid']) in parents and "
            "int(procfs.status(p)['PPid']) != __import__('os').getpid())",
            "not this notebook's process",
        ),
        ("answer = 'jupyter'", "'jupyter' is none of"),
        ("answer = 4711", "the answer should be of type str; 4711 is of type int"),
    ],
    "00.3": [
        ('lab.reset(only="cgroup")', "never had"),
        (
            "from labkit import cgroups\ngroup = cgroups.create(ex.name)\nex.look()",
            "the ledger never had",
        ),
        (
            "from labkit import cgroups\n"
            'cgroups.create(lab.ledger.record("cgroup", ex.name))\nex.look()',
            "the kernel still has",
        ),
        (
            "from labkit import cgroups\n"
            'group = cgroups.create(lab.ledger.record("cgroup", ex.name))\nex.look()\n'
            "group.close()",
            "the ledger still lists",
        ),
        (_ALL_BY_FORCE, "what the other notebook had is gone too"),
    ],
}
