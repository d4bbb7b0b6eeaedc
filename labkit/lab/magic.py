"""What `%load_ext labkit.lab` teaches a notebook: cell magics, and refusals in one line.

    %%child a
    unshare(CLONE_NEWUTS)
    sethostname("mars")
    gethostname()

runs the body in child "a" of the current lab's world: made when first named, kept until it ends.
Its output is printed by the kernel; its exception is raised here, without the kernel's own frames.
"""

from typing import Any

from labkit.errors import InvalidParameter, LabkitError
from labkit.lab import fails, needs
from labkit.lab.child import TIMEOUT
from labkit.lab.child_answer import ChildSyntaxError


def child(line: str, cell: str) -> None:
    """%%child NAME [SECONDS]: run the cell there, for at most SECONDS (20 if not given)."""
    name, timeout = _arguments(line)
    from labkit.lab.lab import Lab

    process = Lab.current().world().child(name)
    try:
        output = process.run(cell, timeout=timeout)
    except Exception as error:
        _show(getattr(error, "output", ""))
        raise
    _show(output)


def _arguments(line: str) -> tuple[str, float]:
    words = line.split()
    if len(words) not in (1, 2):
        raise InvalidParameter(f"write %%child NAME or %%child NAME SECONDS, not %%child {line!r}")
    try:
        return words[0], float(words[1]) if len(words) == 2 else TIMEOUT
    except ValueError:
        raise InvalidParameter(f"{words[1]!r} is not a number of seconds") from None


def _show(output: str) -> None:
    if output:
        print(output, end="" if output.endswith("\n") else "\n")


def few_lines(
    shell: Any, kind: type, error: Exception, frames: object, tb_offset: int | None = None
) -> list[str]:
    """A refusal of the kit is a sentence; the frames above it would only bury it."""
    syntax = isinstance(error, ChildSyntaxError)
    lines = error._render_traceback_() if syntax else [f"{kind.__name__}: {error}"]  # type: ignore[attr-defined]
    shell._showtraceback(kind, error, lines)  # what IPython itself calls with its own lines
    return lines


def load_ipython_extension(shell: Any) -> None:
    shell.set_custom_exc((LabkitError, ChildSyntaxError), few_lines)
    shell.register_magic_function(child, "cell", "child")
    needs.register(shell)
    fails.register(shell)
