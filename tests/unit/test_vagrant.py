"""The VM's files are well formed, and install nothing that `make setup` does not know.

`vagrant validate` runs offline and without a provider; it reads provider blocks only for a provider
that is installed, so those are checked by their names here and for real in the VM.
"""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
VAGRANT = CHECKOUT / "vagrant"


def validate(folder: Path, home: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("vagrant") is None:
        pytest.skip("needs vagrant, which this distribution does not package")
    env = dict(
        os.environ,
        HOME=str(home),
        VAGRANT_HOME=str(home),
        VAGRANT_DOTFILE_PATH=str(home / "dot"),
        VAGRANT_CHECKPOINT_DISABLE="1",
        VAGRANT_NO_PLUGINS="1",
    )
    argv = ["vagrant", "validate", "--ignore-provider", "--no-color", "--no-tty"]
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


def test_vagrant_accepts_the_vagrantfile(tmp_path: Path) -> None:
    answer = validate(VAGRANT, tmp_path)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "validated successfully" in answer.stdout


def test_vagrant_would_have_refused_a_misspelt_setting(tmp_path: Path) -> None:
    text = (VAGRANT / "Vagrantfile").read_text()
    assert "config.vm.hostname" in text
    (tmp_path / "Vagrantfile").write_text(text.replace("config.vm.hostname", "config.vm.hostnam"))
    answer = validate(tmp_path, tmp_path / "home")
    assert answer.returncode != 0
    assert "hostnam" in answer.stdout + answer.stderr


def test_every_provider_gets_the_same_memory_and_processors() -> None:
    text = (VAGRANT / "Vagrantfile").read_text()
    blocks = re.findall(r'config\.vm\.provider "(\w+)" do \|machine\|\n(.*?)\n  end', text, re.S)
    assert [name for name, _ in blocks] == ["virtualbox", "libvirt", "vmware_desktop", "parallels"]
    for name, body in blocks:
        assert re.search(r"= memory\b", body), name
        assert re.search(r"= cpus\b", body), name


def test_the_forwarded_port_is_open_to_this_machine_only() -> None:
    text = (VAGRANT / "Vagrantfile").read_text()
    forwards = [line for line in text.splitlines() if "forwarded_port" in line]
    assert len(forwards) == 1
    assert 'host_ip: "127.0.0.1"' in forwards[0]


def test_provisioning_installs_through_make_setup() -> None:
    text = (VAGRANT / "provision.sh").read_text()
    assert 'make -C "$checkout" setup' in text
    installs = re.findall(r"apt-get.* install .*", text)
    assert installs == ["apt-get -q install -y --no-install-recommends make python3"]


def test_the_service_outlives_a_machine_without_memory() -> None:
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(VAGRANT / "labkit-lab.service")
    service = unit["Service"]
    assert service["OOMScoreAdjust"] == "-500"
    assert service["Delegate"] == "yes"
    assert "--token-file /etc/labkit/token" in service["ExecStart"]


def test_the_service_and_the_synced_folder_agree_on_the_path() -> None:
    assert '"/opt/labkit", type: "rsync"' in (VAGRANT / "Vagrantfile").read_text()
    assert "ExecStart=/opt/labkit/.venv/bin/python" in (VAGRANT / "labkit-lab.service").read_text()


@pytest.mark.parametrize("script", ["vagrant/provision.sh", ".ci/run"])
def test_shellcheck_has_nothing_to_say(script: str) -> None:
    answer = subprocess.run(["shellcheck", script], cwd=CHECKOUT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
