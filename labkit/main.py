"""The `labkit` command: a table of verbs, each with a module that reads its own arguments.

Nothing is imported before the verb is known, so `labkit doctor` starts fast and answers even
where a package of the notebooks is missing. A verb's `main(arguments)` returns the exit status:
0 done, 1 not done (one line says why), 2 the command line was wrong.
"""

import argparse
import importlib
import sys

from labkit.errors import LabkitError

#: verb -> (module:function, one line of help)
VERBS = {
    "lab": ("labkit.lab.jupyter:main", "start JupyterLab on this machine"),
    "restore": ("labkit.lab.copies:main", "give back the original of one notebook"),
    "doctor": ("labkit.lab.doctor:main", "look at this machine and name what to fix"),
    "reset": ("labkit.lab.reset:main", "remove what the kit made, and nothing else"),
    "progress": ("labkit.lab.progress:main", "show the exercises passed and the predictions made"),
    "notebooks": ("labkit.lab.notebooks.command:main", "build, check, run or accept notebooks"),
    "batch": ("labkit.lab.batch:main", "run notebooks with papermill and write one report page"),
}


def parser() -> argparse.ArgumentParser:
    """`labkit VERB ...`; the verb's own parser takes the rest."""
    lines = [f"  {verb:<10}  {text}" for verb, (_, text) in VERBS.items()]
    top = argparse.ArgumentParser(
        prog="labkit",
        description="verbs:\n" + "\n".join(lines),
        epilog="labkit VERB --help tells more about a verb",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("verb", choices=VERBS, metavar="VERB", help="one of the above")
    top.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; what it cannot do becomes one line on standard error."""
    options = parser().parse_args(arguments)
    try:
        return run(VERBS[options.verb][0], options.arguments)
    except (LabkitError, OSError) as error:
        print(f"labkit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("labkit: interrupted", file=sys.stderr)
        return 130


def run(target: str, arguments: list[str]) -> int:
    """Call "module:function"; its status, where None means 0."""
    module, _, function = target.partition(":")
    return int(getattr(importlib.import_module(module), function)(arguments) or 0)


if __name__ == "__main__":
    sys.exit(main())
