"""What labkit raises.

    LabkitError                 HTTP status (used by the daemon, later)
    ├── InvalidParameter        400   the value can never be right (also a ValueError)
    ├── Forbidden               403   the value is right, this process may not
    ├── NotFound                404   no object of that name
    ├── Conflict                409   the object is in a state that rules this out
    ├── Unsupported             501   this kernel or machine does not have it
    └── Unavailable             503   it should answer and does not

What the kernel refuses stays an OSError with the kernel's errno: nothing here wraps it.
Messages are in lower case, without a full stop, and hold the value that was wrong.
"""


class LabkitError(Exception):
    """Root of the tree; caught only where a command or a request ends."""

    status = 500


class InvalidParameter(LabkitError, ValueError):
    status = 400


class Forbidden(LabkitError):
    status = 403


class NotFound(LabkitError):
    status = 404


class Conflict(LabkitError):
    status = 409


class Unsupported(LabkitError):
    status = 501


class Unavailable(LabkitError):
    status = 503
