"""The five sets, set in a process of their own and read from /proc."""

import pytest

pytestmark = pytest.mark.root

IMPORT = "from labkit.linux.capabilities import *\nfrom labkit.linux import capabilities\n"


def test_the_sets_read_are_the_ones_applied(program) -> None:
    program(
        IMPORT
        + """
some = parse(["CHOWN", "KILL", "SYS_CHROOT", "SETPCAP"])
asked = Sets(effective=some, permitted=some, inheritable=parse(["KILL"]), bounding=some,
             ambient=parse(["KILL"]))
apply(asked)
assert capabilities.read() == asked, capabilities.read()
assert procfs.status()["CapBnd"] == f"{sum(1 << cap for cap in some):016x}"
"""
    )


def test_without_mknod_there_is_no_device(program) -> None:
    done = program(IMPORT + """
keep = capabilities.read().permitted - parse(["MKNOD"])
capset(keep, keep, ())
os.mknod("/tmp/labkit-never", 0o600 | 0o020000, os.makedev(1, 3))
""", code_expected=1)  # fmt: skip
    assert "PermissionError" in done.stderr


def test_a_capability_that_is_only_permitted_can_be_taken_back(program) -> None:
    program(
        IMPORT
        + """
mine = capabilities.read().permitted
capset((), mine, ())
try:
    os.chroot("/")
except PermissionError:
    capset(mine, mine, ())
    os.chroot("/")
else:
    raise SystemExit("chroot without an effective capability")
"""
    )


def test_permitted_never_grows(program) -> None:
    done = program(IMPORT + """
capset((), (), ())
capset(parse(["KILL"]), parse(["KILL"]), ())
""", code_expected=1)  # fmt: skip
    assert "PermissionError: [Errno 1] Operation not permitted: 'capset'" in done.stderr


def test_what_left_the_bounding_set_does_not_come_back_by_exec(program) -> None:
    program(
        IMPORT
        + """
drop_bounding(parse(["NET_RAW", "MKNOD"]))
drop_bounding(parse(["NET_RAW"]))
code = "import sys; print([l for l in open('/proc/self/status') if l.startswith('CapEff')][0])"
os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", code + '''
caps = int([l for l in open('/proc/self/status') if l.startswith('CapEff')][0].split()[1], 16)
assert caps and not caps >> 13 & 1 and not caps >> 27 & 1, caps
'''])
"""
    )


def test_ambient_capabilities_survive_exec_without_root(program) -> None:
    program(
        IMPORT
        + """
kept = parse(["NET_BIND_SERVICE"])
syscalls.prctl(Prctl.SET_SECUREBITS, 1 << 4)  # keep permitted through setuid, capabilities(7)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
apply(Sets(effective=kept, permitted=kept, inheritable=kept, bounding=capabilities.read().bounding,
           ambient=kept))
os.execv("/bin/sh", ["sh", "-c", "grep -q 'CapEff:.*0000000000000400' /proc/self/status"])
"""
    )


def test_ambient_needs_inheritable(program) -> None:
    done = program(IMPORT + """
clear_ambient()
mine = capabilities.read().permitted
capset(mine, mine, ())
raise_ambient(Capability.KILL)
""", code_expected=1)  # fmt: skip
    assert "PermissionError: [Errno 1] Operation not permitted: 'CAP_AMBIENT'" in done.stderr


def test_sets_of_another_process_are_read(program) -> None:
    program(
        IMPORT
        + """
assert capabilities.read(os.getppid()).bounding == capabilities.read().bounding
try:
    capabilities.read(4194304)
except ProcessLookupError as error:
    assert error.filename == "4194304"
"""
    )
