"""The `labkit` command: verbs, one line for what cannot be done, exit statuses."""

import importlib
import subprocess
import sys

import pytest

from labkit import main
from labkit.errors import Conflict


@pytest.mark.parametrize("verb", main.VERBS)
def test_every_verb_is_there(verb):
    module, _, function = main.VERBS[verb][0].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_help_lists_every_verb(capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {verb}" in text for verb in main.VERBS)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["notebooks"], ["notebooks", "dance"]])
def test_wrong_command_line_is_status_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("error", [Conflict("it is 'busy'"), OSError(28, "No space left")])
def test_what_cannot_be_done_is_one_line_and_status_1(monkeypatch, capsys, error):
    def fail(target, arguments):
        raise error

    monkeypatch.setattr(main, "run", fail)
    assert main.main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"labkit: {error}\n"


def test_status_of_the_verb_is_returned(monkeypatch):
    monkeypatch.setitem(main.VERBS, "doctor", ("operator:length_hint", ""))
    assert main.main(["doctor", "a", "b"]) == 2


@pytest.mark.parametrize("verb", ["doctor", "reset"])
def test_light_verbs_import_nothing_heavy(verb):
    module = main.VERBS[verb][0].partition(":")[0]
    code = f"import sys, labkit.main, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"matplotlib", "numpy", "nbformat", "jupyterlab", "papermill", "pyroute2", "zmq"}
    assert not heavy & set(done.stdout.split())
