"""A function as a process in new namespaces: its code, its end, its parent's end."""

import os
import time

import pytest

from labkit.linux import procfs

pytestmark = pytest.mark.root


def test_the_function_is_the_first_process_and_its_number_is_the_exit_code(isolated) -> None:
    isolated("""
        with spawn(["pid"], lambda: 10 + os.getpid()) as child:
            assert child.wait() == child.wait() == 11
    """)


def test_the_caller_stays_where_it_is(isolated) -> None:
    isolated("""
        before = procfs.namespaces()
        with spawn(namespaces.KINDS, lambda: 0) as child:
            child.wait()
        assert procfs.namespaces() == before
        with spawn(["pid"], os.getpid) as again:  # and can do it again
            assert again.wait() == 1
    """)


def test_with_kills_and_reaps(isolated) -> None:
    isolated("""
        with spawn(["pid"], lambda: time.sleep(60)) as child:
            message = raises(TimeoutError, child.wait, 0)
            assert message == f"process {child.pid} still runs after 0 s"
        assert child.wait() == -signal.SIGKILL
        child.close()
        assert procfs.children(os.getpid()) == []
        raises(ChildProcessError, os.wait)
    """)


def test_an_exception_is_printed_and_gives_1_and_exit_gives_its_code(isolated) -> None:
    done = isolated("""
        def wrong():
            raise ValueError("mars is no host")
        with spawn([], wrong) as child:
            assert child.wait() == 1
        with spawn([], lambda: sys.exit(42)) as child:
            assert child.wait() == 42
        with spawn([], lambda: sys.exit("sorry")) as child:
            assert child.wait() == 1
    """)
    assert done.stderr.endswith("ValueError: mars is no host\n")


def test_what_was_printed_before_is_printed_once(isolated) -> None:
    done = isolated("""
        print("before")
        with spawn([], lambda: print("inside")) as child:
            child.wait()
    """)
    assert done.stdout == "before\ninside\n"


def test_a_threaded_caller_is_refused(program) -> None:
    program("""
        import threading
        from labkit.spawn import spawn
        stop = threading.Event()
        threading.Thread(target=stop.wait).start()
        try:
            spawn(["uts"], lambda: 0)
        except Conflict as error:
            assert str(error).startswith("this process has 2 threads: "), error
        else:
            raise AssertionError
        finally:
            stop.set()
    """)


def test_the_child_dies_with_its_parent(program) -> None:
    done = program("""
        from labkit.spawn import spawn
        child = spawn(["pid"], lambda: time.sleep(60))
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """, code_expected=-9)  # fmt: skip
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while procfs.alive(pid):
        assert time.monotonic() < deadline, f"{pid} outlives its parent {os.getpid()}"
        time.sleep(0.01)
