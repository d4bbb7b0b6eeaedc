"""Predictions: written down before the experiment, scored after it, kept with the progress.

It may be changed until the reveal; one that is made after it does not count.
"""

from collections.abc import Sequence

from labkit.errors import InvalidParameter
from labkit.lab.exercise import TODO
from labkit.lab.progress import Progress


def predict(
    progress: Progress, id: str, question: str, options: Sequence[str], answer: object
) -> None:
    """Print the question and the choice, and store it. answer: a letter, or an option's text."""
    _check_options(id, options)
    print(f"{id} {question}")
    for letter, option in _lettered(options).items():
        print(f"    {letter}) {option}")
    if answer is TODO:
        print("[not yet] predict before you look: put a letter where TODO stands")
        return
    choice = _option(id, options, answer)
    before = progress.prediction(id)
    first = before.get("choice") if before.get("revealed") else None
    print(f"[predicted] {_letter(options, choice)}) {choice}")
    if first is None:
        when = "after" if before.get("revealed") else "before"
        entry = {"choice": choice, "when": when, "options": list(options)}
        progress.predict(id, before | entry)
    elif first != choice:
        print(f"    changed after the reveal: what you said first counts, {first}")


def reveal(progress: Progress, id: str, truth: object) -> None:
    """Print what was predicted, what was seen, and whether the prediction was right."""
    entry = progress.prediction(id)
    options = entry.get("options", [])
    seen = _option(id, options, truth) if options else str(truth)
    right = entry.get("choice") == seen
    progress.predict(id, entry | {"revealed": True, "right": right and entry["when"] == "before"})
    print(f"[revealed] {id}: {_score(entry, seen, right)}")


def _score(entry: dict[str, str], seen: str, right: bool) -> str:
    if "choice" not in entry:
        return f"nothing was predicted; seen: {seen}"
    verdict = "right" if right else "not what happened"
    if entry["when"] == "after":
        verdict += ", but written after the reveal: it does not count"
    return f"predicted: {entry['choice']}; seen: {seen}; {verdict}"


def _check_options(id: str, options: Sequence[str]) -> None:
    if isinstance(options, str) or not 2 <= len(options) <= 26 or len(set(options)) < len(options):
        raise InvalidParameter(f"prediction {id} needs 2 to 26 different options, not {options!r}")


def _lettered(options: Sequence[str]) -> dict[str, str]:
    return dict(zip("abcdefghijklmnopqrstuvwxyz", options, strict=False))


def _letter(options: Sequence[str], option: str) -> str:
    return next(letter for letter, text in _lettered(options).items() if text == option)


def _option(id: str, options: Sequence[str], answer: object) -> str:
    """The option that is meant by its text or letter."""
    text = str(answer).strip()
    if text in options:
        return text
    letters = _lettered(options)
    if text.lower() in letters:
        return letters[text.lower()]
    raise InvalidParameter(f"prediction {id} takes one of {', '.join(letters)}, not {answer!r}")
