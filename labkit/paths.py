"""Every directory that labkit writes, once; see docs/STATE.md for what lies in them.

An Instance is one engine or one classroom seat on a machine. Two roots make it: `root` keeps what
survives a reboot, `run` what does not. Both, and so all names derived from them, can be set by
LABKIT_ROOT and LABKIT_RUN: that is how tests and several seats live side by side.
"""

import hashlib
import os

DEFAULT_ROOT = "/var/lib/labkit"
DEFAULT_RUN = "/run/labkit"


class Instance:
    """root and run are absolute paths; tag is four hex characters that mark every kernel object."""

    def __init__(self, root: str | None = None, run: str | None = None) -> None:
        self.root = os.path.abspath(root or os.environ.get("LABKIT_ROOT") or DEFAULT_ROOT)
        self.run = os.path.abspath(run or os.environ.get("LABKIT_RUN") or DEFAULT_RUN)
        self.tag = hashlib.sha256(self.root.encode()).hexdigest()[:4]

    @property
    def base(self) -> str:
        """The unpacked base file system (busybox) that the first notebooks start from."""
        return os.path.join(self.root, "base")

    @property
    def ledger(self) -> str:
        """One JSON file per owner of kernel objects: what reset removes, exactly."""
        return os.path.join(self.run, "ledger")

    def name(self, suffix: str) -> str:
        """The name of a cgroup, netns or nft table of this instance: labkit-TAG-suffix."""
        return f"labkit-{self.tag}-{suffix}"

    def link(self, suffix: str) -> str:
        """The name of a network interface: at most 15 characters, so lkTAGsuffix."""
        if len(suffix) > 9:
            raise ValueError(f"link suffix {suffix!r} is longer than 9 characters")
        return f"lk{self.tag}{suffix}"
