"""The learner's copies of the notebooks: made once, never overwritten, restored on request.

Learners work in a folder of their own, LABKIT_WORK, so that an update of the kit and a second
`make lab` leave their work alone. Under sudo that folder lies in the home of the person who typed
sudo and belongs to them, although the server that writes into it runs as root. What a notebook
made in the kernel is not here: that is `labkit reset`.
"""

import argparse
import os
import pwd
import shutil
from pathlib import Path

import labkit
from labkit.errors import InvalidParameter, NotFound
from labkit.lab import settings

ORIGINALS = Path(labkit.__file__).resolve().parent.parent / "notebooks"
PATTERN = "[0-9][0-9]-*.ipynb"


def originals(folder: Path = ORIGINALS) -> list[Path]:
    """The attendee notebooks of the kit, in order; NotFound when there are none."""
    found = sorted(folder.glob(PATTERN))
    if not found:
        raise NotFound(f"no notebooks in {folder}; run labkit from its checkout")
    return found


def copy_missing(sources: list[Path], work: Path) -> list[Path]:
    """Copy each notebook that `work` lacks; what is there stays as it is, whatever it holds."""
    work.mkdir(parents=True, exist_ok=True)
    made = []
    for source in sources:
        target = work / source.name
        if not os.path.lexists(target):
            shutil.copyfile(source, target)
            made.append(target)
    return made


def restore(number: str, sources: list[Path], work: Path) -> tuple[Path, Path | None]:
    """Give back the original of one notebook: (the fresh copy, where the old one was moved)."""
    wanted = [source for source in sources if source.name.startswith(f"{number}-")]
    if len(wanted) != 1:
        known = " ".join(source.name[:2] for source in sources)
        raise InvalidParameter(f"no notebook {number!r}; there are {known}")
    target, kept = work / wanted[0].name, None
    if os.path.lexists(target):
        kept = free_name(target)
        target.rename(kept)
    copy_missing(wanted, work)
    return target, kept


def free_name(path: Path) -> Path:
    """03-cgroups.mine-1.ipynb, or -2, -3: a restored notebook never costs work."""
    number = 1
    while os.path.lexists(path.with_suffix(f".mine-{number}.ipynb")):
        number += 1
    return path.with_suffix(f".mine-{number}.ipynb")


def hand_over(work: Path) -> None:
    """Give what root made in `work` to the person behind sudo; links are not followed."""
    if os.geteuid() != 0 or not os.environ.get("SUDO_USER"):
        return
    owner = pwd.getpwnam(os.environ["SUDO_USER"])
    for folder, _, names in os.walk(work):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            if os.lstat(path).st_uid == 0:
                os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)


def main(arguments: list[str] | None = None) -> int:
    """`labkit restore 03`."""
    parser = argparse.ArgumentParser(prog="labkit restore", description="give back an original")
    parser.add_argument("number", help="the notebook's number, such as 03")
    work = settings.work()
    target, kept = restore(parser.parse_args(arguments).number, originals(), work)
    hand_over(work)
    print(f"{target} is the original again" + (f"; yours is {kept.name}" if kept else ""))
    return 0
