"""`labkit notebooks build|check|run|accept`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from labkit.errors import NotFound
from labkit.lab.notebooks import accept, build, check, execute
from labkit.lab.notebooks.execute import Notebook
from labkit.lab.notebooks.shelf import Shelf, here
from labkit.lab.notebooks.source import Source

DESCRIPTIONS = {
    "build": "write the notebooks from their sources, running those whose code changed",
    "check": "compare with a fresh build and apply the rules of docs/NOTEBOOKS.md",
    "run": "run the solved notebook and compare; nothing is written",
    "accept": "run it, show what its outputs changed, and store them",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="labkit notebooks", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, text in DESCRIPTIONS.items():
        sub = verbs.add_parser(verb, help=text, description=text)
        sub.add_argument("notebooks", nargs="*", metavar="NN", help="number or name; default: all")
        sub.add_argument("--root", help="the checkout; default: around the working directory")
        if verb == "run":
            sub.add_argument("--save", metavar="FILE", help="write the executed notebook here")
        if verb == "accept":
            sub.add_argument("--yes", action="store_true", help="store without asking")
            sub.add_argument(
                "--from", dest="saved", metavar="FILE", help="outputs of `run --save` elsewhere"
            )
    return top


def main(arguments: Sequence[str]) -> int:
    """Exit status 0: done, or nothing to complain about."""
    options = parser().parse_args(arguments)
    shelf = here(options.root)
    if options.verb == "build":
        build.build(shelf, options.notebooks, say, progress)
        return 0
    if options.verb == "check":
        return run_check(shelf, options.notebooks)
    if options.verb == "run":
        return run(shelf, options.notebooks, options.save)
    return run_accept(shelf, options.notebooks, saved=options.saved, yes=options.yes)


def say(line: str) -> None:
    print(line, flush=True)


def progress(done: int, total: int) -> None:
    """A counter on one line of a terminal; in a log there is none."""
    if sys.stderr.isatty():
        print(f"\r  {done}/{total} cells", end="\n" if done == total else "", file=sys.stderr)


def run_check(shelf: Shelf, words: Sequence[str]) -> int:
    problems = list(check.check(shelf, words))
    for problem in problems:
        say(problem)
    if not problems:
        say("notebooks: nothing to complain about")
    return 1 if problems else 0


def run(shelf: Shelf, words: Sequence[str], save: str | None) -> int:
    """Run and compare; status 1 when an output differs."""
    changed = 0
    for one, sources in build.chosen(shelf, words):
        stored, executed = outcome(shelf, one, sources)
        if save:
            build.write(Path(save), executed)
        changes = list(accept.differences(stored, executed))
        for change in changes:
            say(change)
        say(f"{one.stem}: {len(changes)} cells differ" if changes else f"{one.stem}: as stored")
        changed += len(changes)
    return 1 if changed else 0


def outcome(shelf: Shelf, one: Source, sources: list[Source]) -> tuple[Notebook | None, Notebook]:
    """(what is stored, what a run gives now)."""
    fresh = build.pair(one, sources)[1]
    stored = build.load(shelf.solved(one.stem))
    return stored, execute.execute(fresh, shelf.notebooks, progress)


def run_accept(shelf: Shelf, words: Sequence[str], *, saved: str | None, yes: bool) -> int:
    """Show the differences first; store them after a yes."""
    for one, sources in build.chosen(shelf, words):
        if saved:
            stored = build.load(shelf.solved(one.stem))
            executed = from_file(Path(saved), build.pair(one, sources)[1])
        else:
            stored, executed = outcome(shelf, one, sources)
        changes = list(accept.differences(stored, executed))
        for change in changes:
            say(change)
        if not changes:
            say(f"{one.stem}: as stored")
        elif not yes and not agreed(f"store {len(changes)} changed cells of {one.stem}?"):
            say(f"{one.stem}: not stored")
            return 1
        result = accept.keep_pictures(stored, execute.keep_gated(executed, stored))
        build.write(shelf.solved(one.stem), result)
    return 0


def from_file(path: Path, fresh: Notebook) -> Notebook:
    """The saved run, if it is a run of exactly this notebook."""
    saved = build.load(path)
    if saved is None or not execute.same_code(saved, fresh):
        raise NotFound(f"{path} is not a run of this notebook as it is now")
    return execute.carry_over(fresh, saved)


def agreed(question: str) -> bool:
    """A y at a terminal; without one, no."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() == "y"
