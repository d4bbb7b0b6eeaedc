"""A container made by runc, the program that Docker itself starts: to look at, beside our own.

    with Runc(lab, ["sleep", "600"]) as real:
        real.pid, real.root

The file system is the busybox base, read-only; the rest is what `runc spec` writes. Here: making
the bundle, starting, ending. What config.json means: config.md of the OCI runtime specification.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING

from labkit.errors import Unavailable, Unsupported
from labkit.lab import base
from labkit.linux import procfs

if TYPE_CHECKING:
    from labkit.lab.lab import Lab

SECONDS = 60


class Runc:
    """One running container of runc, "real" if not named; a second one of a name ends the first.

    What it makes is in the lab's ledger before it is made. Unsupported without runc, Unavailable
    with runc's own words when it does not start.
    """

    def __init__(self, lab: "Lab", argv: Sequence[str], name: str = "real") -> None:
        self._program = shutil.which("runc")
        if not self._program:
            raise Unsupported("runc is not installed: run sudo make setup")
        self._lab, self.id = lab, lab.instance.name(f"{lab.owner}-{name}")
        self._bundle = os.path.join(lab.instance.run, "runc", f"{lab.owner}-{name}")
        self.close()
        lab.ledger.record("path", self._bundle)
        lab.ledger.record("cgroup", self.id)
        os.makedirs(self._bundle)
        self._write_config(argv)
        self._call("run", "--detach", "--bundle", self._bundle, "--pid-file", self._pid_file)
        with open(self._pid_file) as file:
            self.pid = int(file.read())

    @property
    def _pid_file(self) -> str:
        return os.path.join(self._bundle, "pid")

    @property
    def root(self) -> str:
        """The container's / as the host reaches it, proc(5)."""
        return f"/proc/{self.pid}/root"

    def _write_config(self, argv: Sequence[str]) -> None:
        """What `runc spec` writes, with our program and file system, and a cgroup that is ours."""
        subprocess.run([str(self._program), "spec"], cwd=self._bundle, check=True, timeout=SECONDS)
        path = os.path.join(self._bundle, "config.json")
        with open(path) as file:
            config = json.load(file)
        config["process"] |= {"terminal": False, "args": list(argv)}
        config["root"] = {"path": base.ensure(self._lab.instance), "readonly": True}
        config["linux"]["cgroupsPath"] = f"/{self.id}"
        with open(path, "w") as file:
            json.dump(config, file)

    def _call(self, verb: str, *options: str) -> None:
        """Detached, the container keeps our output: so it goes to a file, no pipe."""
        with open(os.path.join(self._bundle, "output"), "w+") as output:
            command = [str(self._program), "--root", self._state, verb, *options, self.id]
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                timeout=SECONDS, check=False,
            )  # fmt: skip
            output.seek(0)
            said = output.read().strip()
        if done.returncode:
            self.close()
            raise Unavailable(f"runc {verb} failed: {said}")

    @property
    def _state(self) -> str:
        return os.path.join(self._bundle, "state")

    def close(self) -> None:
        """End it and remove what it had; a second time is no error."""
        if os.path.isdir(self._bundle):
            command = [str(self._program), "--root", self._state, "delete", "--force", self.id]
            subprocess.run(command, check=False, capture_output=True, timeout=SECONDS)
            shutil.rmtree(self._bundle)
        for point in {m.point for m in procfs.mountinfo() if m.fstype in ("cgroup", "cgroup2")}:
            with contextlib.suppress(FileNotFoundError):  # after a crash: reset knows fewer trees
                os.rmdir(os.path.join(point, self.id))
        self._lab.ledger.forget("cgroup", self.id)
        self._lab.ledger.forget("path", self._bundle)

    def __enter__(self) -> "Runc":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
