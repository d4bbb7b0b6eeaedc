#!/usr/bin/env python3
"""Make this machine ready for labkit. `make setup` calls it, and so does the VM's provisioning.

Six steps, each of which looks first and does only what is missing:

    1 system packages   those of scripts/packages.txt, through apt-get
    2 uv                the one on PATH, or the pinned one of scripts/uv.txt in .tools/
    3 Python packages   exactly those of uv.lock, into .venv/
    4 another Python    for tests only, where the machine has one: outputs must not depend on it
    5 base image        the file system that the first containers start from
    6 guest kernel      the virtual machine that notebook 01 compares a container with

Only the standard library, and only syntax that Python 3.7 can read: an old Python must get as far
as the sentence that says so. What the called programs print goes to build/setup.log.
"""

import argparse
import glob
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOG = os.path.join(CHECKOUT, "build", "setup.log")
VENV_PYTHON = os.path.join(CHECKOUT, ".venv", "bin", "python")
OTHER_PYTHON = os.path.join(CHECKOUT, "build", "other-python", "bin", "python")
STAMP = "labkit-setup.json"  # in each of the two environments: what it was made from
TOOLS = os.path.join(CHECKOUT, ".tools")
OS_RELEASE = "/etc/os-release"
OLDEST = (3, 11)
PYTHONS = ("python3.13", "python3.12", "python3.11", "python3")
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class Refused(Exception):
    """Set-up cannot go on; the message is one sentence that names the fix."""


def main():
    parser = argparse.ArgumentParser(description="install what labkit needs and is missing")
    parser.add_argument("--tests", action="store_true", help="also what `make test` needs")
    parser.add_argument("--goal", default="setup", help="the make target, for messages")
    parser.add_argument("--list", action="store_true", help="print the packages and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(wanted(options.tests)))
        return 0
    started = time.monotonic()
    try:
        setup(options)
    except Refused as refused:
        print(f"labkit: {refused}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nlabkit: stopped; run make {options.goal} again to go on", file=sys.stderr)
        return 130
    print(f"ready after {time.monotonic() - started:.0f} s")
    return 0


def setup(options):
    if platform.system() != "Linux":
        fix = "run: cd vagrant && vagrant up"
        raise Refused(f"{platform.system()} has no namespaces; {fix}")
    if os.geteuid() != 0:
        raise Refused(f"labkit needs root here; run: sudo make {options.goal}")
    os.makedirs(os.path.dirname(LOG), exist_ok=True)
    open(LOG, "w").close()
    system_packages(options)
    python = find_python()
    uv = find_uv()
    python_packages(uv, python, tests=options.tests)
    other_packages(uv, tests=options.tests)
    base_image()
    guest_kernel()


def step(number, what):
    print(f"[{number}/6] {what}", flush=True)


def run(argv, what, env=None):
    """Run one program with its output in the log; on failure show the end of it."""
    with open(LOG, "a") as log:
        log.write("\n$ {}\n".format(" ".join(argv)))
        log.flush()
        start = log.tell()
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=CHECKOUT
        )
        code = wait(child)
    if code != 0:
        with open(LOG) as log:
            log.seek(start)
            sys.stderr.write("".join(log.readlines()[-20:]))
        raise Refused(f"{what} failed, exit code {code}; all of its output: {LOG}")


def wait(child):
    """Wait for a program; a person at a terminal sees the seconds pass."""
    started = time.monotonic()
    while True:
        try:
            return child.wait(timeout=1)
        except subprocess.TimeoutExpired:
            if sys.stdout.isatty():
                print(f"      {time.monotonic() - started:.0f} s", end="\r", flush=True)
        except KeyboardInterrupt:
            child.wait()
            raise


# 1 system packages -------------------------------------------------------------------------------


def words():
    """What this machine is called in the list's `where` column."""
    release = {}
    with open(OS_RELEASE) as file:
        for line in file:
            key, _, value = line.strip().partition("=")
            release[key] = value.strip("\"'")
    ids = [release.get("ID", "")] + release.get("ID_LIKE", "").split()
    name = "ubuntu" if "ubuntu" in ids else "debian" if "debian" in ids else ids[0]
    machine = MACHINES.get(platform.machine(), platform.machine())
    return {"-", name, "{}-{}".format(name, release.get("VERSION_ID", "")), machine}


def wanted(tests):
    """The names of the packages that this machine should have."""
    here, names = words(), []
    with open(os.path.join(CHECKOUT, "scripts", "packages.txt")) as file:
        for line in file:
            fields = line.partition("#")[0].split()
            if not fields:
                continue
            kind, name, where = fields[:3]
            if (tests or kind == "needed") and here & set(where.split(",")):
                names.append(name)
    return names


def installed(names):
    """Those of `names` that dpkg has installed completely."""
    query = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev}\n"]
    answer = subprocess.run(
        query + names, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    lines = [line.split() for line in answer.stdout.splitlines()]
    return {fields[0] for fields in lines if fields[1:] == ["ii"]}


def system_packages(options):
    names = wanted(options.tests)
    if shutil.which("apt-get") is None:
        step(1, "system packages: no apt-get here, so these are yours: {}".format(" ".join(names)))
        return
    have = installed(names)
    missing = [name for name in names if name not in have]
    if not missing:
        step(1, f"system packages: all {len(names)} are here")
        return
    step(1, "system packages: installing {}".format(" ".join(missing)))
    apt(missing)


def apt(names):
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    lock = ["-o", "DPkg::Lock::Timeout=300"]
    run(["apt-get", "-q"] + lock + ["update"], "apt-get update", env)
    install = ["install", "-y", "--no-install-recommends"]
    run(["apt-get", "-q"] + lock + install + names, "apt-get install", env)


# 2 uv --------------------------------------------------------------------------------------------


def find_uv():
    """The path of a uv that is new enough to read uv.lock; fetched when there is none."""
    with open(os.path.join(CHECKOUT, "scripts", "uv.txt")) as file:
        pinned = file.read().partition("uv==")[2].split()[0]
    own = os.path.join(TOOLS, "bin", "uv")
    for path in (shutil.which("uv"), own):
        if path and uv_version(path)[:2] >= version(pinned)[:2]:
            step(2, "uv {}: {}".format(".".join(map(str, uv_version(path))), path))
            return path
    step(2, f"uv: fetching {pinned} into {TOOLS}")
    fetch_uv()
    return own


def version(text):
    return tuple(int(part) for part in text.split(".")[:3])


def uv_version(path):
    try:
        answer = subprocess.run([path, "--version"], stdout=subprocess.PIPE, check=True)
        return version(answer.stdout.decode().split()[1])
    except (OSError, ValueError, IndexError, subprocess.CalledProcessError):
        return (0, 0, 0)


def fetch_uv():
    """Through pip, which knows the machine's index, proxy and certificates, and checks the hash.

    --target keeps out of the system's Python, so a distribution that manages its own lets it pass.
    """
    pip = [sys.executable, "-m", "pip"]
    if subprocess.call(pip + ["--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        if shutil.which("apt-get") is None:
            raise Refused("python3 has no pip to fetch uv with; install pip or uv and run it again")
        apt(["python3-pip"])
        pip[0] = "/usr/bin/python3"
    shutil.rmtree(TOOLS, ignore_errors=True)
    requirements = os.path.join(CHECKOUT, "scripts", "uv.txt")
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    target = ["--require-hashes", "--target", TOOLS, "-r", requirements]
    run(pip + ["install"] + options + target, "pip install uv")


# 3 Python packages -------------------------------------------------------------------------------


def find_python():
    """The Python for .venv: UV_PYTHON, or the one that .venv has, or the first new enough."""
    if os.environ.get("UV_PYTHON"):
        return os.environ["UV_PYTHON"]
    found = []
    for name in (VENV_PYTHON,) + PYTHONS:
        path, number = ask_python(name)
        if number >= OLDEST:
            return VENV_PYTHON if name == VENV_PYTHON else path
        if path:
            found.append("{} is {}.{}".format(path, *number))
    fix = "install python3.11 or newer, or name one: UV_PYTHON=/path/to/python3"
    raise Refused("Python 3.11 or newer is needed and {}; {}".format(" and ".join(found), fix))


def ask_python(name):
    """(path, (major, minor)) of a Python; (None, (0, 0)) when it does not run."""
    code = "import json, sys; print(json.dumps([sys.executable, sys.version_info[:2]]))"
    try:
        argv = [name, "-I", "-S", "-c", code]
        answer = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        path, number = json.loads(answer.stdout.decode())
        return path, tuple(number)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None, (0, 0)


def python_packages(uv, python, tests):
    """The environment that everything runs in."""
    # make lab takes nothing away from make test
    tests = tests or read_stamp(VENV_PYTHON).get("tests", False)
    synced = sync(uv, python, VENV_PYTHON, tests)
    step(3, "Python packages: {}".format(synced or "as uv.lock says"))


def sync(uv, python, target, tests):
    """`uv sync --locked`, unless the stamp says that just this was done already.

    Returns what was done, in words, or nothing.
    """
    now = {"key": lock_key(), "tests": tests}
    if now == read_stamp(target) and ask_python(target)[0]:
        return None
    if os.path.exists(stamp_of(target)):
        os.unlink(stamp_of(target))  # an interrupted sync must not look like a finished one
    groups = [] if tests else ["--no-dev", "--inexact"]
    env = dict(uv_environment(), UV_PROJECT_ENVIRONMENT=os.path.dirname(os.path.dirname(target)))
    run([uv, "sync", "--locked", "--python", python] + groups, "uv sync", env)
    with open(stamp_of(target), "w") as file:
        json.dump(now, file)
    return f"uv sync with {python}"


def stamp_of(python):
    return os.path.join(os.path.dirname(os.path.dirname(python)), STAMP)


def read_stamp(python):
    try:
        with open(stamp_of(python)) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def lock_key():
    """Changes when the lock, the project's metadata or an explicitly named Python changes."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml"):
        with open(os.path.join(CHECKOUT, name), "rb") as file:
            digest.update(file.read())
    digest.update(os.environ.get("UV_PYTHON", "").encode())
    return digest.hexdigest()


def uv_environment():
    env = dict(os.environ, UV_PYTHON_DOWNLOADS="never", UV_SYSTEM_CERTS="1")
    for name in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON"):
        env.pop(name, None)
    cache = env.get("UV_CACHE_DIR", os.path.expanduser("~/.cache"))
    os.makedirs(cache, exist_ok=True)
    if os.stat(cache).st_dev != os.stat(CHECKOUT).st_dev:
        env.setdefault("UV_LINK_MODE", "copy")  # hard links do not cross file systems
    return env


# 4 another Python -------------------------------------------------------------------------------


def other_packages(uv, tests):
    """A second environment, for tests: a solved notebook gives the same outputs in it."""
    if not tests:
        step(4, "another Python: only for tests")
        return
    python = find_other_python()
    if python is None:
        step(4, "another Python: none here, outputs are compared under one version only")
        return
    synced = sync(uv, python, OTHER_PYTHON, tests)
    step(4, "another Python: {}".format(synced or "as uv.lock says"))


def find_other_python():
    """The newest Python here, pyenv's too, that is not the version of .venv; None: there is none"""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    own = ask_python(VENV_PYTHON)[1]
    found = map(ask_python, PYTHONS + tuple(glob.glob(pyenv + "/versions/*/bin/python3")))
    others = [(number, path) for path, number in found if number >= OLDEST and number != own]
    return max(others)[1] if others else None


# 5 and 6 what the notebooks start from -----------------------------------------------------------


def base_image():
    step(5, "base image")
    run([VENV_PYTHON, "-m", "labkit.lab.base"], "building the base image")


def guest_kernel():
    machine = {"x86_64": "x86_64", "aarch64": "aarch64"}.get(platform.machine(), "")
    if shutil.which("qemu-system-" + machine) is None:
        step(6, "guest kernel: skipped, no qemu here; notebook 01 shows recorded data instead")
        return
    step(6, "guest kernel")
    run([VENV_PYTHON, "-m", "labkit.lab.guest", "prepare"], "preparing the guest kernel")


if __name__ == "__main__":
    sys.exit(main())
