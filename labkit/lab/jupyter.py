"""JupyterLab as the kit starts it: `make lab`, the VM's service and the browser test use this.

Here are the server's settings, its port, its token and the one address that is printed. The
server runs in this process: what stops it stops everything. Its own files lie under the
instance's two directories and not in anybody's home, see docs/STATE.md. Settings of the pages
(no news prompt) are the files in jupyter_config/, which jupyter_core finds by JUPYTER_CONFIG_PATH.

    python -m labkit.lab.jupyter [--port 8888] [--ip ADDRESS] [--token-file FILE] [--Class.trait=x]
"""

import argparse
import errno
import logging
import os
import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from labkit.errors import Conflict, InvalidParameter, LabkitError
from labkit.lab import settings
from labkit.lab.copies import copy_missing, hand_over, originals
from labkit.paths import Instance

FIRST = "00-start-here.ipynb"
CONFIG = Path(__file__).parent / "jupyter_config"

#: What the server is told, beside address, folder and token.
SETTINGS = (
    "--ServerApp.open_browser=False",
    "--ServerApp.allow_root=True",  # the notebooks' kernels call mount, setns and unshare
    "--ServerApp.port_retries=0",  # the port that was asked for, or a sentence
    "--KernelManager.transport=ipc",  # a kernel's sockets are files: no ports, no other users
    "--LabApp.news_url=",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",  # the other manager asks an index for extensions
    f"--LabApp.default_url=/lab/tree/{FIRST}",
    "--Application.log_level=ERROR",
)


def serve(port: int, *, ip: str, token_file: str | None, extra: list[str]) -> None:
    """Copy the notebooks, start JupyterLab, print its address, and serve until it is stopped.

    Conflict when the port is taken; `extra` are JupyterLab's own options, passed on as they are.
    """
    check_port(ip, port)
    from jupyterlab.labapp import LabApp  # late: it costs a second

    work = settings.work()
    copy_missing(originals(), work)
    hand_over(work)
    set_environment(Instance(), work)
    token = read_token(Path(token_file)) if token_file else secrets.token_urlsafe(24)
    place = [f"--ServerApp.ip={ip}", f"--ServerApp.port={port}", f"--ServerApp.root_dir={work}"]
    # These are arguments of a function and not of a program: nobody reads the token in ps.
    secret = f"--IdentityProvider.token={token}"
    server = LabApp.initialize_server(argv=[*SETTINGS, *place, secret, *extra])
    stop_on_signals(server)
    # A closed tab is an "exception never retrieved" to tornado, and no news to a learner.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    print(announcement(port, token, work), flush=True)
    try:
        server.start()
    finally:
        hand_over(work)


def stop_on_signals(server: Any) -> None:
    """Ctrl-C or SIGTERM shuts the kernels down and then the server; a second one ends it at once.

    Jupyter's own handler asks a question, and without a terminal it leaves the kernels alone.
    """

    def stop(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        server.stop(from_signal=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def check_port(ip: str, port: int) -> None:
    """Raise unless somebody can listen on the port; the message names a port that is free."""
    if not 1 <= port <= 65535:
        raise InvalidParameter(f"port {port} is not between 1 and 65535")
    if not is_free(ip, port):
        other = next((p for p in range(port + 1, min(port + 100, 65536)) if is_free(ip, p)), 8888)
        raise Conflict(f"port {port} is in use; run: sudo make lab PORT={other}")


def is_free(ip: str, port: int) -> bool:
    """Whether bind(2) takes the address; any error but EADDRINUSE passes as it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True


def set_environment(instance: Instance, work: Path) -> None:
    """Where Jupyter and its kernels read and write; a person's own ~/.jupyter plays no part."""
    kept = Path(instance.root) / "jupyter"
    runtime = Path(instance.run) / "jupyter"
    for folder in (kept, runtime):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.environ.update(
        LABKIT_WORK=str(work),
        JUPYTER_CONFIG_PATH=str(CONFIG),
        JUPYTER_CONFIG_DIR=str(kept / "config"),
        JUPYTER_DATA_DIR=str(kept / "data"),
        JUPYTER_RUNTIME_DIR=str(runtime),
        IPYTHONDIR=str(kept / "ipython"),
        # so that the terminal and the kernels find the command `labkit`
        PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
    )


def read_token(path: Path) -> str:
    """The token in `path`, which is made, readable by its owner only, when it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24) + "\n")
    token = path.read_text(encoding="ascii").strip()
    if len(token) < 16:  # an empty token would be an open root shell
        raise InvalidParameter(f"the token in {path} has {len(token)} characters, 16 are needed")
    return token


def address(port: int, token: str) -> str:
    """The default page opens from / and not from /lab, so this is the address to print."""
    return f"http://127.0.0.1:{port}/?token={token}"


def announcement(port: int, token: str, work: Path) -> str:
    return f"""
JupyterLab is ready. Open this address in a browser:

    {address(port, token)}

Your notebooks are in {work}; Ctrl-C here stops the server.
"""


def main(arguments: list[str] | None = None) -> int:
    """`labkit lab`; options with a dot, such as --ServerApp.base_url=/x, are JupyterLab's own."""
    parser = argparse.ArgumentParser(prog="labkit lab", description="start JupyterLab")
    parser.add_argument("--port", type=int, default=8888, help="the port (default 8888)")
    parser.add_argument("--ip", default="127.0.0.1", help="the address (default 127.0.0.1)")
    parser.add_argument("--token-file", help="keep the token here instead of a new one each time")
    options, extra = parser.parse_known_args(arguments)
    unknown = [word for word in extra if "." not in word.partition("=")[0]]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    serve(options.port, ip=options.ip, token_file=options.token_file, extra=extra)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (LabkitError, OSError) as error:
        sys.exit(f"labkit: {error}")
