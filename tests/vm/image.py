"""Build the disk image, kernel and initrd of the test machine, once; machine.py boots them.

    packages   apt-get --download-only for an empty system, then dpkg-deb: the host's own apt
               sources, and nothing is installed, mounted or run as a package script
    python     the interpreter and the virtual environment that run here, at the same paths,
               compiled, with the shared libraries that no package brought
    root.img   ext4 made by mkfs.ext4 -d: a disk and not an initramfs, whose root cannot be pivoted
    initrd     busybox and the modules that reach the disk

All of it lies in $LABKIT_CACHE/vm-KEY. A build that is killed leaves vm-KEY.tmp, which the next
build removes; a finished one is renamed into place.
"""

import fcntl
import hashlib
import lzma
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from labkit.errors import Unavailable, Unsupported
from labkit.lab import guestimage

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
DEFAULT_CACHE = "/var/cache/labkit"
UNUSED_DAYS = 7

PACKAGES = (
    "base-files", "bash", "busybox-static", "coreutils", "dash", "findutils", "grep", "hostname",
    "iproute2", "kmod", "libc-bin", "mount", "nftables", "procps", "python3", "sed", "tar",
    "util-linux",
)  # fmt: skip

#: modules that reach the disk, in whatever order their dependencies ask for
MODULES = ("virtio_pci", "virtio_blk", "ext4")

#: of the interpreter and the environment, what no kernel test or notebook imports;
#: rfc3987_syntax is optional for jsonschema and takes minutes to import in an emulated machine
LEFT_OUT = {
    "ensurepip", "idlelib", "include", "lib2to3", "mypy", "mypyc", "playwright", "rfc3987_syntax",
    "test", "tkinter", "turtledemo",
}  # fmt: skip

#: what is left as it is, because nothing imports all of it at once: compiling is the longest part
NOT_COMPILED = "/(tests?|babel|debugpy|fontTools|jedi|lsprotocol|pip|setuptools)/"

INITRD = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
for module in /modules/*; do insmod "$module"; done
until [ -b /dev/vda ]; do usleep 50000; done
mount -t ext4 -o noatime /dev/vda /root
umount /proc /dev
exec switch_root /root /sbin/labkit-init
"""

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1\tlocalhost labkit-vm\n",
    "etc/hostname": "labkit-vm\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}

Progress = Callable[[str], object]


def ready(progress: Progress = print) -> Path:
    """The directory with root.img, vmlinuz and initrd, built first if it is not there."""
    cache = Path(os.environ.get("LABKIT_CACHE") or DEFAULT_CACHE)
    package = guestimage.kernel_package()
    target = cache / f"vm-{key(package)}"
    if target.exists():
        os.utime(target)
        return target
    for program in ("apt-get", "dpkg-deb", "mkfs.ext4", "chroot"):
        if not shutil.which(program):
            raise Unsupported(f"the test machine cannot be built: there is no {program}")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "vm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            for killed in cache.glob("vm-*.tmp"):
                shutil.rmtree(killed)
            temporary = target.with_suffix(".tmp")
            build(temporary, package, progress)
            temporary.rename(target)
            forget(cache, UNUSED_DAYS)
    return target


def forget(cache: Path, days: int) -> None:
    """Remove images that no run has used for so long; a machine that runs keeps its open files."""
    for old in cache.glob("vm-*/"):
        if time.time() - old.stat().st_mtime > days * 86400:
            shutil.rmtree(old)


def key(package: str) -> str:
    """Sixteen hex digits of everything that goes into the image."""
    parts = [platform.freedesktop_os_release().get("VERSION_CODENAME", ""), package]
    parts += [sys.version, sys.prefix, sys.base_prefix, os.uname().machine]
    digest = hashlib.sha256("\0".join(parts).encode())
    for path in (REPOSITORY / "uv.lock", HERE / "image.py", HERE / "init.sh"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build(directory: Path, kernel_package: str, progress: Progress) -> None:
    """Fill the new `directory`; on any failure it is removed again."""
    tree = directory / "tree"
    try:
        tree.mkdir(parents=True)
        tree.chmod(0o755)
        progress(f"packages: {len(PACKAGES)} and {kernel_package}, with what they need")
        unpack(tree, directory / "debs", (*PACKAGES, kernel_package))
        progress(f"python: {sys.prefix} and {sys.base_prefix}")
        copy_python(tree)
        progress("kernel, initrd and disk")
        release = split_kernel(tree, directory / "vmlinuz")
        (directory / "initrd").write_bytes(initrd(tree, release))
        make_disk(tree, directory / "root.img")
        shutil.rmtree(tree)
        shutil.rmtree(directory / "debs")
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def unpack(tree: Path, debs: Path, packages: tuple[str, ...]) -> None:
    """Download `packages` with their dependencies as for an empty system and unpack them all."""
    (debs / "partial").mkdir(parents=True)
    (debs / "status").touch()
    options = {
        "Dir::State::status": str(debs / "status"), "Dir::Cache::archives": str(debs),
        "Dir::Cache::pkgcache": "", "Dir::Cache::srcpkgcache": "", "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root", "APT::Install-Recommends": "0",
    }  # fmt: skip
    flags = [f"-o{name}={value}" for name, value in options.items()]
    guestimage.apt("apt-get", "-qy", *flags, "--download-only", "install", *packages)
    for name in ("bin", "lib", "lib64", "sbin"):  # as base-files of a merged /usr has it
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    for deb in sorted(debs.glob("*.deb")):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as data:
            command = ["tar", "-x", "-C", str(tree), "--keep-directory-symlink", "-f", "-"]
            subprocess.run(command, stdin=data.stdout, check=True)
    for path, text in FILES.items():
        (tree / path).parent.mkdir(exist_ok=True)
        (tree / path).write_text(text)
    shutil.copy(HERE / "init.sh", tree / "sbin/labkit-init")
    (tree / "sbin/labkit-init").chmod(0o755)


# ---- python -----------------------------------------------------------------


def copy_python(tree: Path) -> None:
    """The environment and, unless it is the distribution's, the interpreter behind it."""
    prefixes = [sys.prefix] if sys.base_prefix == "/usr" else [sys.base_prefix, sys.prefix]
    for prefix in prefixes:
        target = tree / prefix.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        for parent in target.relative_to(tree).parents:  # every user may run it, even below /root
            (tree / parent).chmod(0o755)
        shutil.copytree(
            prefix, target, symlinks=True, ignore=_left_out, copy_function=_link_or_copy
        )
    roots = [tree / prefix.lstrip("/") / "lib" for prefix in (sys.base_prefix, sys.prefix)]
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "-x", NOT_COMPILED]
    command += ["-s", str(tree), "-p", "/", *map(str, roots)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # some sources are no Python 3
    copy_libraries(tree, roots)
    # the font cache, or else the first picture in the machine comes with a message
    fonts = ["chroot", str(tree), sys.executable, "-c", "import matplotlib.font_manager"]
    subprocess.run(fonts, env={"HOME": "/root", "PATH": os.environ["PATH"]}, check=True)


def _link_or_copy(source: str, target: str) -> None:
    """A hard link where the file systems allow it: nothing writes into these files."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)


def _left_out(directory: str, names: list[str]) -> set[str]:
    """For shutil.copytree: LEFT_OUT, and the packages of an interpreter that is not ours."""
    out = {name for name in names if name in LEFT_OUT or name.startswith("config-3")}
    if "/lib/python" in directory and not directory.startswith(sys.prefix + "/"):
        out |= {name for name in names if name == "site-packages"}
    return out


def copy_libraries(tree: Path, roots: list[Path]) -> None:
    """Shared libraries that the interpreter and its modules find on the host, not in the tree."""
    modules = [path for root in roots for path in root.rglob("*.so*") if path.is_file()]
    programs = [Path("/", module.relative_to(tree)) for module in modules]
    programs = [path for path in (Path(sys.executable).resolve(), *programs) if path.exists()]
    listing = subprocess.run(
        ["ldd", *map(str, programs)], capture_output=True, text=True, check=False
    ).stdout
    for line in set(listing.splitlines()):
        name, arrow, path = line.strip().partition(" => /")
        target = tree / path.split(" ")[0]
        if arrow and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path("/", path.split(" ")[0]), target)


# ---- kernel and disk --------------------------------------------------------


def split_kernel(tree: Path, target: Path) -> str:
    """Move the kernel image out of the tree, index its modules; the kernel's release."""
    (image,) = (tree / "boot").glob("vmlinuz-*")
    release = image.name.removeprefix("vmlinuz-")
    shutil.move(image, target)
    shutil.rmtree(tree / "boot")
    subprocess.run(["chroot", tree, "depmod", release], check=True)
    return release


def initrd(tree: Path, release: str) -> bytes:
    """An initramfs that loads MODULES, in order, and goes on to the disk."""
    base = tree / "usr/lib/modules" / release
    needed: dict[str, None] = {}
    lines = (base / "modules.dep").read_text().splitlines()
    dependencies = dict(line.split(":", 1) for line in lines)
    for path, wanted in dependencies.items():
        if Path(path).name.split(".")[0].replace("-", "_") in MODULES:
            needed.update(dict.fromkeys([*reversed(wanted.split()), path]))
    files = {"/init": INITRD.encode(), "/root/.mount": b""}
    for number, path in enumerate(needed):
        name = f"/modules/{number:02}-{Path(path).name.split('.')[0]}.ko"
        files[name] = _module(base / path)
    return guestimage.initramfs(files)


def _module(path: Path) -> bytes:
    if path.suffix == ".zst":
        raise Unsupported(f"{path.name} is compressed by zstd, which is not handled")
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def make_disk(tree: Path, image: Path) -> None:
    """An ext4 file system with the content of `tree` and 1 GiB to spare, a sparse file."""
    used = sum(path.lstat().st_blocks * 512 for path in tree.rglob("*"))
    command: list[str | Path] = [
        "mkfs.ext4",
        "-qqF",
        "-m",
        "0",
        "-O",
        "^has_journal",
        "-L",
        "labkit",
        "-d",
        tree,
    ]
    command += [image, f"{(used >> 20) * 5 // 4 + 1024}M"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{image} cannot be made: {done.stderr.strip()}")
