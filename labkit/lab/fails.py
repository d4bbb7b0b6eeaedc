"""`%%fails PermissionError`: a cell that must fail, and shows in one line how.

    %%fails PermissionError
    %%child a
    sethostname("mars")

prints `PermissionError: [Errno 1] Operation not permitted`. Jupyter's own tag "raises-exception" is
of no use here: papermill counts every exception in an output as a failed run.
"""

from typing import Any

from labkit.errors import InvalidParameter, LabkitError


class DidNotFail(LabkitError):
    """The cell went through, although it must not."""


def run(shell: Any, name: str, cell: str) -> None:
    """Run the cell; print the exception if it, or a base class of it, has this name."""
    if not name.isidentifier():
        raise InvalidParameter(f"write %%fails and one exception's name, not %%fails {name!r}")
    try:
        exec(shell.transform_cell(cell), shell.user_ns)  # as %%time does it
    except Exception as error:
        if name not in [kind.__name__ for kind in type(error).__mro__]:
            raise
        print(f"{type(error).__name__}: {error}")
        return
    raise DidNotFail(f"nothing was raised, {name} should have been")


def register(shell: Any) -> None:
    """Let `shell`, an InteractiveShell, understand %%fails."""

    def fails(line: str, cell: str) -> None:
        run(shell, line.strip(), cell)

    shell.register_magic_function(fails, "cell", "fails")
