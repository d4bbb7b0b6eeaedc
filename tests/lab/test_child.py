import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from labkit.errors import Conflict, InvalidParameter, Unavailable
from labkit.lab.child import Child
from labkit.lab.child_answer import KEEP, ChildError
from labkit.linux import procfs

pytestmark = pytest.mark.root


@pytest.fixture
def a() -> Iterator[Child]:
    with Child.start("a") as child:
        yield child


def gone(pid: int, seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while procfs.alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not procfs.alive(pid)


# ---- running ------------------------------------------------------------------


def test_names_persist_from_run_to_run(a: Child) -> None:
    a.run("x = 40")
    assert a.run("print(x + 2)") == "42\n"


def test_the_last_expression_is_shown_as_at_a_prompt(a: Child) -> None:
    assert a.run("1 + 1\n'two'\n") == "'two'\n"
    assert a.run("x = 1") == ""
    assert a.run("None") == ""


def test_indented_source_runs(a: Child) -> None:
    assert (
        a.run("""
            for n in range(2):
                print(n)
        """)
        == "0\n1\n"
    )


def test_eval_gives_values_that_json_has(a: Child) -> None:
    assert a.eval("[os.getpid() > 1, {'a': None}, 'text']") == [True, {"a": None}, "text"]
    with pytest.raises(TypeError, match="not JSON serializable"):
        a.eval("{1, 2}")
    assert a.alive


def test_the_pid_is_the_kernels(a: Child) -> None:
    assert a.pid == a.eval("os.getpid()")
    assert a.pid in procfs.children(os.getpid())


def test_it_has_one_thread_and_no_site(a: Child) -> None:
    assert procfs.status(a.pid)["Threads"] == "1"
    assert a.eval("[sys.flags.isolated, sys.flags.no_site]") == [1, 1]


def test_kernel_words_are_ready(a: Child) -> None:
    here = procfs.namespaces()
    assert a.run("unshare(CLONE_NEWUTS | CLONE_NEWIPC); sethostname('mars'); gethostname()") == (
        "'mars'\n"
    )
    there = a.namespaces()
    assert {kind for kind in here if here[kind] != there[kind]} == {"uts", "ipc"}
    assert os.uname().nodename != "mars"
    a.run("MS_PRIVATE | MS_REC, MNT_DETACH, PR_SET_NO_NEW_PRIVS, procfs.nspid(), errno.EPERM")
    a.run("chdir('/etc'); chroot('.')")
    assert a.eval("os.getcwd()") == "/"


def test_help_tells_what_a_name_wants(a: Child) -> None:
    assert "setns(fd: int, nstype: int = 0) -> None" in a.run("help(setns)")


def test_shell_commands_print_and_say_how_they_ended(a: Child) -> None:
    assert a.run("sh('echo out; echo err >&2')") == "out\nerr\n"
    assert a.run("sh('exit 3')") == "[exit code 3]\n"
    assert a.run("sh('kill -9 $$')") == "[ended by SIGKILL]\n"


def test_output_of_the_shell_and_of_python_keep_their_order(a: Child) -> None:
    assert a.run("print(1, end=' '); sh('echo 2'); print(3)") == "1 2\n3\n"


def test_later_output_of_a_background_process_is_shown_at_the_next_run(a: Child) -> None:
    a.run("sh('(sleep 0.3; echo late) &')")
    time.sleep(0.6)
    assert a.run("print('now')") == "late\nnow\n"


def test_a_flood_of_output_is_cut_and_counted(a: Child) -> None:
    text = a.run(f"print('x' * {3 * KEEP})")
    assert len(text) < KEEP + 100
    assert text.endswith(f"\n[{2 * KEEP + 1} more bytes]\n")
    assert a.run("1") == "1\n"


def test_output_shows_itself_as_the_last_line_of_a_cell(
    a: Child, capsys: pytest.CaptureFixture[str]
) -> None:
    a.run("print('hello')")._ipython_display_()
    a.run("x = 1")._ipython_display_()
    assert capsys.readouterr().out == "hello\n"


def test_standard_input_is_empty_and_no_descriptor_leaks(a: Child) -> None:
    assert a.eval("sys.stdin.read()") == ""
    assert len(a.eval("os.listdir('/proc/self/fd')")) == 5  # 0, 1, 2, the socket, the listing


# ---- forks ---------------------------------------------------------------------


def test_a_forked_copy_runs_on_but_never_answers(a: Child) -> None:
    text = a.run("pid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint('me', pid > 0)")
    assert text == "me False\nme True\n"
    assert a.eval("os.getpid()") == a.pid
    assert procfs.children(a.pid) == []


def test_the_answer_comes_from_the_child_when_its_copy_fails_or_exits(a: Child) -> None:
    text = a.run(
        "pid = os.fork()\nif not pid: raise RuntimeError('in the copy')\n"
        "_, status = os.waitpid(pid, 0)\nprint(os.waitstatus_to_exitcode(status))"
    )
    assert "RuntimeError: in the copy" in text and text.endswith("\n1\n")
    assert a.run("pid = os.fork()\nif not pid: sys.exit(5)\nos.waitpid(pid, 0)[1] >> 8") == "5\n"


def test_text_in_a_buffer_is_not_written_twice_by_a_fork(a: Child) -> None:
    assert a.run("print('once', end='')\npid = os.fork()\nif pid: os.waitpid(pid, 0)") == "once"


def test_spawn_runs_a_function_in_a_new_process(a: Child) -> None:
    text = a.run("os.waitpid(spawn(print, 'from', 'there'), 0)[1]")
    assert text == "from there\n0\n"
    assert a.run("os.waitpid(spawn(os._exit, 7), 0)[1] >> 8") == "7\n"


def test_spawn_refuses_what_is_no_function(a: Child) -> None:
    with pytest.raises(TypeError, match=r"spawn wants a function, not 4: spawn\(f\)"):
        a.run("spawn(2 + 2)")


def test_a_copy_in_a_new_pid_namespace_never_answers_either(a: Child) -> None:
    code = "unshare(CLONE_NEWPID)\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nos.getpid()"
    first, second = a.run(code).split()
    assert (first, int(second)) == ("1", a.pid)


# ---- exceptions ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("1 / 0", ZeroDivisionError, "division by zero"),
        ("open('/nowhere')", FileNotFoundError, "[Errno 2] No such file or directory: '/nowhere'"),
        ("mount('x', '/nowhere', 'tmpfs')", FileNotFoundError, "/nowhere"),
        ("{}['key']", KeyError, "'key'"),
        ("from labkit.errors import Conflict; raise Conflict('no')", Conflict, "no"),
        ("class Odd(Exception): pass\nraise Odd('!')", ChildError, "Odd: !"),
        ("b'\\xff'.decode()", ChildError, "UnicodeDecodeError: 'utf-8' codec can't decode"),
        ("nothing", NameError, "name 'nothing' is not defined"),
    ],
)
def test_an_exception_comes_back_as_its_own_type(
    a: Child, source: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        a.run(source)
    assert message in str(caught.value)
    assert a.run("'alive'") == "'alive'\n"


def test_the_traceback_shows_lines_of_sent_code_only(a: Child) -> None:
    with pytest.raises(ValueError) as caught:
        a.run("def f():\n    raise ValueError('bad')\nprint('before')\nf()")
    assert caught.value._render_traceback_() == [  # type: ignore[attr-defined]
        "  child a, line 4: f()",
        "  child a, line 2 in f: raise ValueError('bad')",
        "ValueError: bad",
    ]
    assert caught.value.output == "before\n"  # type: ignore[attr-defined]


def test_a_syntax_error_names_the_line_and_runs_nothing(a: Child) -> None:
    with pytest.raises(SyntaxError, match="line 2") as caught:
        a.run("print('never')\nx = = 1")
    assert caught.value.output == ""  # type: ignore[attr-defined]
    assert "line 2: x = = 1" in caught.value._render_traceback_()[0]  # type: ignore[attr-defined]


# ---- the end ---------------------------------------------------------------------


def test_a_run_that_takes_too_long_ends_the_child_and_what_it_started(a: Child) -> None:
    with pytest.raises(TimeoutError, match="child 'a' was ended after 0.5 s without an answer"):
        a.run("pid = spawn(time.sleep, 60)\nprint(pid, flush=True)\ntime.sleep(60)", timeout=0.5)
    assert not a.alive
    with pytest.raises(Unavailable, match="after 0.5 s"):
        a.run("1")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "child 'a' was ended by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "child 'a' was ended by SIGTERM"),
        ("os._exit(3)", "child 'a' ended itself with exit code 3"),
        ("sys.exit('bye')", "child 'a' ended itself with exit code 1"),
    ],
)
def test_a_child_that_ends_during_a_run_says_how(a: Child, source: str, message: str) -> None:
    with pytest.raises(Unavailable, match=message):
        a.run(source)
    assert not a.alive
    with pytest.raises(Unavailable, match=message):
        a.run("1")


def test_a_child_that_was_killed_in_between_says_so(a: Child) -> None:
    os.kill(a.pid, signal.SIGKILL)
    assert gone(a.pid)
    with pytest.raises(Unavailable, match="ended by SIGKILL"):
        a.run("1")


def test_a_child_that_became_another_program_is_alive_but_does_not_listen(a: Child) -> None:
    with pytest.raises(Unavailable, match="it became 'sleep'"):
        a.run("os.execvp('sleep', ['sleep', '60'])")
    assert a.alive


def test_stop_ends_it_and_its_background_processes() -> None:
    child = Child.start("b")
    pid = int(child.run("spawn(time.sleep, 60)"))
    child.stop()
    child.stop()
    assert gone(child.pid) and gone(pid)
    assert not child.alive
    with pytest.raises(Unavailable, match="child 'b' was stopped"):
        child.run("1")


def test_interrupting_the_kernel_interrupts_the_code_not_the_child(
    a: Child, capsys: pytest.CaptureFixture[str]
) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        a.run("print('working')\ntime.sleep(60)")
    timer.join()
    assert capsys.readouterr().out == "working\n"
    assert a.run("'still here'") == "'still here'\n"


def test_children_end_when_the_kernel_is_killed(python: Callable[[str], str]) -> None:
    text = python(
        "import os\nfrom labkit.lab.child import Child\na = Child.start('a')\n"
        "print(a.pid, a.run('spawn(time.sleep, 60)'), flush=True)\nos.kill(os.getpid(), 9)"
    )
    assert all(gone(int(pid)) for pid in text.split())


@pytest.mark.parametrize("name", ["", "a b", "../x", "a" * 16, "ä", 5, None])
def test_a_name_that_is_no_short_word_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="must be a word of at most 15 letters"):
        Child.start(name)


def test_the_kernel_process_never_forks_python(python: Callable[[str], str]) -> None:
    """What the fork hooks would see: starting a child goes through posix_spawn or vfork."""
    text = python(
        "import os\nos.register_at_fork(before=lambda: print('forked'))\n"
        "from labkit.lab.child import Child\nwith Child.start('a') as a: print(a.eval('1'))"
    )
    assert text == "1\n"


def test_nothing_of_the_kit_at_layer_two_and_up_is_imported_in_a_child(a: Child) -> None:
    loaded = a.eval("sorted(name for name in sys.modules if name.startswith('labkit.lab.'))")
    assert loaded == ["labkit.lab.child_main", "labkit.lab.child_names"]
    assert not {"subprocess", "threading", "asyncio", "typing"} & set(a.eval("list(sys.modules)"))
