"""Running runc inside a World: what the child of labkit.lab.realtool does there.

A bundle is a directory with config.json, as `runc spec` writes it and as we change it; see the OCI
runtime specification. The standard library only.
"""

import contextlib
import json
import os

from labkit.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUNDLE = "/scratch/bundle"
LOG = "/scratch/runc.log"


def bundle(root: str, group: str, resources: "dict[str, Any]") -> None:
    """config.json for a container that sleeps, in a cgroup of that name, below this machine's."""
    os.makedirs(BUNDLE, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{BUNDLE}/config.json")
    runc("spec", "--bundle", BUNDLE)
    with open(f"{BUNDLE}/config.json") as file:
        config = json.load(file)
    config["root"] = {"path": root, "readonly": True}
    config["process"] |= {"terminal": False, "args": ["/bin/busybox", "sleep", "60"]}
    config["linux"] |= {"cgroupsPath": f"/{group}", "resources": resources}
    with open(f"{BUNDLE}/config.json", "w") as file:
        json.dump(config, file)


def runc(*arguments: str) -> None:
    """Run it to its end; Unavailable with its own words when it fails."""
    files = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawnp("runc", ["runc", *arguments], os.environ, file_actions=files)
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        with open(LOG) as log:
            raise Unavailable(f"runc {arguments[0]} ended with {code}: {log.read().strip()}")
