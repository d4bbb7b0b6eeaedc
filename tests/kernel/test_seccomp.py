"""Every action and kind of condition, installed in a process of its own."""

import signal

import pytest

pytestmark = pytest.mark.root

FILTER = """
import ctypes, struct
from labkit.linux import seccomp, seccomp_notify
from labkit.linux.seccomp import Action, Arg, FilterFlag, Op, Profile, Rule
from labkit.linux.syscall_table import numbers

def install(*rules, default=Action.ALLOW, flags=0):
    syscalls.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
    return seccomp.install(seccomp.compile_profile(Profile(default, rules)), flags)

def outcome(call, *args):
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]

NR = numbers(os.uname().machine)
"""


def test_errno_is_returned_and_the_call_is_not_made(program, tmp_path) -> None:
    program(
        FILTER
        + """
install(Rule(["mkdirat", "mkdir"] if "mkdir" in NR else ["mkdirat"], Action.ERRNO | errno.EXDEV))
assert outcome(os.mkdir, sys.argv[1] + "/made") == "EXDEV"
assert procfs.status()["Seccomp"] == "2"
""",
        str(tmp_path),
    )
    assert not (tmp_path / "made").exists()


def test_the_default_holds_for_all_that_is_not_named(program) -> None:
    program(
        FILTER
        + """
allowed = sorted(set(NR) - {"uname", "getpgid"})
install(Rule(allowed, Action.ALLOW), default=Action.ERRNO | errno.ENOSYS)
assert outcome(os.getpgid, 0) == "ENOSYS"
assert outcome(os.getsid, 0) == os.getsid(0)
"""
    )


def test_kill_process_ends_it_with_sigsys(program) -> None:
    program(
        FILTER + "install(Rule(['getsid'], Action.KILL_PROCESS)); os.getsid(0)",
        code_expected=-signal.SIGSYS,
    )


def test_kill_thread_ends_only_the_thread(program) -> None:
    program(
        FILTER
        + """
import _thread
install(Rule(["getsid"], Action.KILL_THREAD))
threads = lambda: len(os.listdir("/proc/self/task"))
begun = []
def thread():
    begun.append(1)
    syscalls.syscall(NR["getsid"], 0)  # through ctypes: it dies without holding Python's lock
_thread.start_new_thread(thread, ())
deadline = time.monotonic() + 20
while not begun or threads() > 1:
    if time.monotonic() > deadline:
        raise SystemExit("the thread lives")
    time.sleep(0.01)
"""
    )


def test_trap_is_a_signal_that_can_be_caught(program) -> None:
    program(
        FILTER
        + """
seen = []
signal.signal(signal.SIGSYS, lambda number, frame: seen.append(number))
install(Rule(["getsid"], Action.TRAP))
outcome(os.getsid, 0)
assert seen == [signal.SIGSYS]
"""
    )


def test_trap_kills_who_does_not_catch_it(program) -> None:
    program(
        FILTER + "install(Rule(['getsid'], Action.TRAP)); os.getsid(0)",
        code_expected=-signal.SIGSYS,
    )


def test_log_lets_the_call_through(program) -> None:
    program(FILTER + "install(Rule(['getsid'], Action.LOG)); assert os.getsid(0) > 0")


def test_trace_without_a_tracer_is_enosys(program) -> None:
    program(
        FILTER + "install(Rule(['getsid'], Action.TRACE | 7)); "
        "assert outcome(os.getsid, 0) == 'ENOSYS'"
    )


def test_trace_gives_its_number_to_the_tracer(program) -> None:
    program(
        FILTER
        + """
TRACEME, CONT, SETOPTIONS, GETEVENTMSG, TRACESECCOMP = 0, 7, 0x4200, 0x4201, 0x80
def ptrace(request, pid=0, address=0, data=0):
    syscalls.syscall(NR["ptrace"], request, pid, address, data)
pid = os.fork()
if pid == 0:
    ptrace(TRACEME)
    os.kill(os.getpid(), signal.SIGSTOP)
    install(Rule(["getsid"], Action.TRACE | 1234))
    os._exit(0 if os.getsid(0) > 0 else 1)
os.waitpid(pid, 0)
ptrace(SETOPTIONS, pid, 0, TRACESECCOMP)
ptrace(CONT, pid)
_, status = os.waitpid(pid, 0)
assert status >> 8 == signal.SIGTRAP | 7 << 8, hex(status)  # PTRACE_EVENT_SECCOMP
message = ctypes.c_ulong()
ptrace(GETEVENTMSG, pid, 0, ctypes.addressof(message))
assert message.value == 1234
ptrace(CONT, pid)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    )


NOTIFY = (
    FILTER
    + """
ours, theirs = socket.socketpair()
pid = os.fork()
if pid == 0:
    rule = Rule(["getsid", "getpgid"], Action.USER_NOTIF)
    listener = install(rule, flags=FilterFlag.NEW_LISTENER)
    socket.send_fds(theirs, [b"x"], [listener])
    os.close(listener)
    answers = outcome(os.getsid, 0), outcome(os.getpgid, 0), outcome(os.getsid, 0)
    os._exit(0 if answers == (4321, "EDOM", os.getpid() and real) else 1)
"""
)


def test_a_supervisor_answers_in_the_kernels_place(program) -> None:
    program(
        NOTIFY.replace("pid = os.fork()", "real = os.getsid(0)\npid = os.fork()")
        + """
_, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
first = seccomp_notify.receive(listener)
assert (first.pid, first.nr, first.args[0]) == (pid, NR["getsid"], 0)
assert seccomp_notify.still_waits(listener, first.id)
seccomp_notify.respond(listener, first.id, value=4321)
assert not seccomp_notify.still_waits(listener, first.id)
second = seccomp_notify.receive(listener)
assert second.nr == NR["getpgid"]
seccomp_notify.respond(listener, second.id, error=errno.EDOM)
third = seccomp_notify.receive(listener)
seccomp_notify.respond(listener, third.id, flags=seccomp_notify.FLAG_CONTINUE)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert outcome(seccomp_notify.respond, listener, third.id) == "ENOENT"
"""
    )


def test_a_supervisor_notices_that_the_caller_died(program) -> None:
    program(
        NOTIFY.replace("pid = os.fork()", "real = 0\npid = os.fork()")
        + """
_, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
call = seccomp_notify.receive(listener)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
assert not seccomp_notify.still_waits(listener, call.id)
"""
    )


BIG = 1 << 32 | 7


@pytest.mark.parametrize(
    ("op", "value", "mask", "refused"),
    [
        ("EQ", 7, None, [7]),
        ("NE", 7, None, [6, 8, BIG]),
        ("LT", 7, None, [6]),
        ("LE", 7, None, [6, 7]),
        ("GT", 7, None, [8, BIG]),
        ("GE", 7, None, [7, 8, BIG]),
        ("MASKED_EQ", 2, 3, [6]),
        ("EQ", BIG, None, [BIG]),
        ("LT", 1 << 32, None, [6, 7, 8]),
    ],
)
def test_conditions_look_at_the_argument(program, op, value, mask, refused) -> None:
    """lseek's offset is a 64-bit argument that the kernel gives back."""
    program(
        FILTER
        + f"""
fd = os.memfd_create("labkit")
tried = [6, 7, 8, {BIG}]
assert [outcome(os.lseek, fd, offset, 0) for offset in tried] == tried
install(Rule(["lseek"], Action.ERRNO | errno.EPERM, [Arg(1, Op.{op}, {value}, {mask})]))
seen = [offset for offset in tried if outcome(os.lseek, fd, offset, 0) == "EPERM"]
assert seen == {refused}, seen
"""
    )


def test_x32_calls_are_killed(program) -> None:
    program(
        FILTER
        + """
if os.uname().machine != "x86_64":
    os.kill(os.getpid(), signal.SIGSYS)  # there is no x32 here
install(Rule(["getsid"], Action.ALLOW))
outcome(syscalls.syscall, seccomp.X32_BIT | NR["getpid"])
""",
        code_expected=-signal.SIGSYS,
    )


def test_calls_of_another_architecture_are_killed(program) -> None:
    """A program for arm64 alone kills an x86-64 process at its next call, and the reverse."""
    program(
        FILTER
        + """
other, = set(seccomp.AUDIT_ARCH) - {os.uname().machine}
syscalls.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
seccomp.install(seccomp.compile_profile(Profile(Action.ALLOW, [], [other])))
""",
        code_expected=-signal.SIGSYS,
    )


def test_a_filter_passes_to_children_and_adds_to_an_earlier_one(program) -> None:
    program(
        FILTER
        + """
install(Rule(["getsid"], Action.ERRNO | errno.EDOM))
install(Rule(["getpgid"], Action.ERRNO | errno.EXDEV))
if (pid := os.fork()) == 0:
    os._exit(0 if (outcome(os.getsid, 0), outcome(os.getpgid, 0)) == ("EDOM", "EXDEV") else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    )


def test_the_longest_program_is_taken_by_the_kernel(program) -> None:
    program(
        FILTER
        + """
names = sorted(NR)[:340]
rules = [Rule([name], Action.ERRNO | errno.EDOM, [Arg(i, Op.EQ, 1 << 40 | 5) for i in range(2)])
         for name in names]
code = seccomp.compile_profile(Profile(Action.ALLOW, rules))
assert 3000 < len(code) // 8 <= 4096, len(code) // 8
syscalls.prctl(Prctl.SET_NO_NEW_PRIVS, 1)
seccomp.install(code)
assert os.getsid(0) > 0
"""
    )


def test_without_privileges_no_new_privs_is_needed_first(program) -> None:
    done = program(
        FILTER
        + """
os.setgid(65534)
os.setuid(65534)
seccomp.install(seccomp.compile_profile(Profile(Action.ALLOW, [])))
""",
        code_expected=1,
    )
    assert "PermissionError: [Errno 13] Permission denied: " in done.stderr


def test_rubbish_is_refused_by_the_kernel(program) -> None:
    done = program(FILTER + "seccomp.install(bytes(8))", code_expected=1)
    assert "OSError: [Errno 22] Invalid argument: '1 instructions'" in done.stderr
