"""environment.yml and uv.lock say what pyproject.toml says."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).parents[2]

#: PyPI's name -> conda-forge's, where they differ
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
}


def project() -> dict[str, Any]:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def environment() -> dict[str, Any]:
    text = (CHECKOUT / "environment.yml").read_text()
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def split(requirement: str) -> tuple[str, str]:
    """("jupyterlab", ">=4.4"): the name in lower case, and everything behind it."""
    match = re.fullmatch(r"([A-Za-z0-9_.-]+)\s*(.*)", requirement)
    assert match, requirement
    return match[1].lower(), match[2].replace(" ", "")


def from_pyproject() -> dict[str, str]:
    data = project()
    listed = data["project"]["dependencies"] + data["dependency-groups"]["dev"]
    pairs = dict(split(requirement) for requirement in listed)
    named = {CONDA_NAMES.get(name, name): bound for name, bound in pairs.items()}
    return named | {"python": data["project"]["requires-python"]}


def from_environment() -> dict[str, str]:
    return dict(
        split(entry)
        for entry in environment()["dependencies"]
        if isinstance(entry, str) and entry != "pip"
    )


def test_conda_users_get_the_same_packages_with_the_same_bounds() -> None:
    assert from_environment() == from_pyproject()


def test_the_only_channel_is_conda_forge() -> None:
    assert environment()["channels"] == ["conda-forge"]


def test_conda_installs_labkit_itself_editable() -> None:
    assert {"pip": ["-e ."]} in environment()["dependencies"]


def test_the_lock_names_no_host_but_the_public_index() -> None:
    hosts = set(re.findall(r"https?://([^/\"]+)/", (CHECKOUT / "uv.lock").read_text()))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_the_lock_holds_every_direct_dependency() -> None:
    locked = {
        entry["name"] for entry in tomllib.loads((CHECKOUT / "uv.lock").read_text())["package"]
    }
    data = project()
    direct = data["project"]["dependencies"] + data["dependency-groups"]["dev"]
    assert {split(requirement)[0] for requirement in direct} <= locked
