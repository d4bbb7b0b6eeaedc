"""What qemu must be told, by architecture: program, machine, processor, console.

Shared by the guest of notebook 01 (guest.py) and the machine of `make test-vm` (tests/vm).
"""

import os
import shutil

from labkit.errors import Unsupported

#: accelerator of the CPU -> seconds in which a small guest must have reached init
ACCELERATORS = {"kvm": 10.0, "tcg": 120.0}
#: machine -> (qemu's machine, CPU when emulated, serial console)
MACHINES = {
    "x86_64": ("q35", "qemu64", "ttyS0"),
    "aarch64": ("virt", "cortex-a72", "ttyAMA0"),
}
#: Debian's name of the package with qemu-system-MACHINE
PACKAGES = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}


def qemu() -> str:
    """The path of qemu for this machine's architecture; Unsupported when it is not installed."""
    machine = os.uname().machine
    if machine not in MACHINES:
        raise Unsupported(f"no guest for the architecture {machine}")
    if found := shutil.which(f"qemu-system-{machine}"):
        return found
    fix = f"apt install --no-install-recommends {PACKAGES[machine]}"
    raise Unsupported(f"qemu-system-{machine} is not installed: {fix}")


def processor(accelerator: str, *, numpy: bool = False) -> list[str]:
    """qemu's arguments for the CPU: the host's own under kvm, a plain one that tcg runs fast.

    numpy: one that numpy's wheels accept (x86-64-v2).
    """
    machine = os.uname().machine
    emulated = "Nehalem" if numpy and machine == "x86_64" else MACHINES[machine][1]
    return ["-accel", accelerator, "-cpu", "host" if accelerator == "kvm" else emulated]
