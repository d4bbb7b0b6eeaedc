"""What the guest of notebook 01 boots: a kernel image and an initramfs; guest.py runs them.

kernel      /boot/vmlinuz-$(uname -r), when it is readable and is the kernel that runs here;
            otherwise $LABKIT_ROOT/guest/vmlinuz, which prepare() takes out of the
            distribution's kernel package. Nothing is installed on the host for it.
initramfs   one static busybox, a few files and /init, in the "newc" format of cpio: see
            the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from labkit import store
from labkit.errors import Unavailable, Unsupported
from labkit.lab.base import find_busybox
from labkit.paths import Instance

#: machine -> the packages that depend on the newest kernel, the smallest kernel first
KERNEL_PACKAGES = {
    "x86_64": ("linux-image-cloud-amd64", "linux-image-virtual", "linux-image-amd64"),
    "aarch64": ("linux-image-cloud-arm64", "linux-image-virtual", "linux-image-arm64"),
}

OS_RELEASE = 'NAME="labkit guest"\nID=labkit-guest\nPRETTY_NAME="labkit guest (busybox)"\n'

INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
read -r uptime idle </proc/uptime
/bin/busybox echo "@init $uptime"
/bin/busybox --install -s /bin
export PATH=/bin HOME=/
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
hostname -F /etc/hostname
stty raw -echo
echo @ready
while read -r number command; do
    echo "$command" | base64 -d >/tmp/command
    sh /tmp/command </dev/null >/tmp/output 2>&1
    status=$?
    echo "@$number $status $(base64 /tmp/output | tr -d '\\n')"
done
"""

Progress = Callable[[str], object]


# ---- the kernel image -------------------------------------------------------


def kernel_image(instance: Instance | None = None) -> Path:
    """The kernel that a guest boots; Unsupported, with the fix, when there is none yet."""
    for path in (_host_image(), _own_image(instance)):
        if path and os.access(path, os.R_OK):
            return path
    raise Unsupported(f"no kernel for the guest at {_own_image(instance)}: run sudo make setup")


def _own_image(instance: Instance | None) -> Path:
    return Path((instance or Instance()).root, "guest", "vmlinuz")


def _host_image() -> Path | None:
    """The image of the running kernel, if it lies in /boot and says so itself."""
    release = os.uname().release
    path = Path(f"/boot/vmlinuz-{release}")
    if not os.access(path, os.R_OK):
        return None
    return path if image_release(path) in (release, "") else None


def image_release(path: Path) -> str:
    """`uname -r` of a kernel image, "" where the format does not tell (arm64).

    x86: Documentation/arch/x86/boot.rst, magic "HdrS" at 0x202, pointer to the text at 0x20e.
    """
    with path.open("rb") as file:
        header = file.read(0x10000)
    if header[0x202:0x206] != b"HdrS":
        return ""
    start = 0x200 + int.from_bytes(header[0x20E:0x210], "little")
    return header[start:].split(b" ", 1)[0].decode(errors="replace")


def prepare(progress: Progress = print, instance: Instance | None = None) -> Path:
    """Have a kernel image, download one if need be; the second call does nothing.

    Unsupported when the machine has no apt or its archive no kernel; Unavailable, with what apt
    said, when the download fails.
    """
    if path := _host_image():
        progress(f"guest kernel: {path}, the one that runs here")
        return path
    target = _own_image(instance)
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.locked(str(target.parent)):
        if not target.exists():
            _download(target, progress)
    progress(f"guest kernel: {target} ({image_release(target) or 'release unknown'})")
    return target


def _download(target: Path, progress: Progress) -> None:
    package = kernel_package()
    progress(f"guest kernel: taking the image out of {package}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="tmp-") as directory:
        apt("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package, cwd=directory)
        (deb,) = Path(directory).glob("*.deb")
        image = Path(directory, "vmlinuz")
        unpack_image(deb, image)
        os.rename(image, target)


def unpack_image(deb: Path, target: Path) -> None:
    """Write the one file boot/vmlinuz-* of a kernel package to `target`."""
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                member = next(m for m in archive if re.match(r"(\./)?boot/vmlinuz-", m.name))
                source = archive.extractfile(member)
                if source is None:
                    raise Unsupported(f"{member.name} in {deb.name} is not a file")
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file)
        finally:
            process.kill()  # the rest of the archive is of no interest


def kernel_package() -> str:
    """The name of the distribution's newest kernel package, such as linux-image-6.1.0-56-amd64."""
    if not shutil.which("apt-cache"):
        where = _own_image(None)
        raise Unsupported(f"this machine has no apt: put a kernel image at {where} yourself")
    machine = os.uname().machine
    for refresh in (False, True):
        if refresh:
            apt("apt-get", "-q", "update")
        for name in KERNEL_PACKAGES.get(machine, ()):
            if package := _newest(name):
                return package
    raise Unsupported(f"no kernel package for {machine} in the apt sources of this machine")


def _newest(name: str) -> str | None:
    """Follow the Depends field from a package that stands for "the newest kernel" to that one."""
    command = ["apt-cache", "--no-all-versions", "show", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"^Depends:.*?\b(linux-image-(?:unsigned-)?\d[^ ,]*)", done.stdout, re.M)
    return found[1] if found else None


def apt(*command: str, cwd: str | None = None) -> str:
    """Run apt quietly and return what it said; Unavailable with its last lines when it fails."""
    environment = os.environ | {"LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, text=True, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        said = "; ".join(done.stdout.strip().splitlines()[-3:])
        raise Unavailable(f"{' '.join(command)} failed: {said}")
    return done.stdout


# ---- the initramfs ----------------------------------------------------------


def initramfs(files: Mapping[str, bytes]) -> bytes:
    """A newc archive: busybox, the usual directories, a console, and `files` (path -> content).

    Paths are absolute; a file under /bin, /sbin or named /init is executable.
    """
    content = {path.strip("/"): data for path, data in files.items()}
    content["bin/busybox"] = Path(find_busybox()).read_bytes()
    parts = [_entry(name, stat.S_IFDIR | 0o755) for name in _directories(content)]
    parts.append(_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    for name, data in content.items():
        program = name == "init" or name.startswith(("bin/", "sbin/"))
        parts.append(_entry(name, stat.S_IFREG | (0o755 if program else 0o644), data))
    parts.append(_entry("TRAILER!!!", 0))
    return b"".join(parts)


def _directories(names: Iterable[str]) -> list[str]:
    """Every parent directory of `names` and the usual empty ones, parents first."""
    found = {"bin", "dev", "etc", "proc", "sys", "tmp"}
    for name in names:
        found.update(str(parent) for parent in Path(name).parents)
    return sorted(found - {"."})


def _entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One member: 13 numbers of eight hex digits, the name, the data, each padded to four bytes."""
    raw = name.encode() + b"\0"
    inode = uid = gid = mtime = check = 0
    numbers = (inode, mode, uid, gid, 1, mtime, len(data), 0, 0, *device, len(raw), check)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + raw) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
