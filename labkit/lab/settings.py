"""The environment variables that steer a lab: read at each use, so a cell may set them.

LABKIT_BATCH   no person is watching: one frame of each live view, no threads, no widgets
LABKIT_STRICT  a check that has not passed raises
LABKIT_SEED    a whole number from which all names, ports and limits are drawn
LABKIT_WORK    the learner's folder; progress lies in .labkit/ below it
"""

import os
from pathlib import Path

from labkit.errors import InvalidParameter


def batch() -> bool:
    return _switch("LABKIT_BATCH")


def strict() -> bool:
    return _switch("LABKIT_STRICT")


def seed() -> int | None:
    """LABKIT_SEED, or None when it is not set; InvalidParameter when it is not a number."""
    text = os.environ.get("LABKIT_SEED", "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise InvalidParameter(f"LABKIT_SEED must be a whole number, not {text!r}") from None


def work() -> Path:
    """The learner's folder: under sudo, in the home of the person who typed sudo."""
    home = "~" + os.environ.get("SUDO_USER", "")
    return Path(os.environ.get("LABKIT_WORK") or f"{home}/labkit-work").expanduser().absolute()


def _switch(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")
