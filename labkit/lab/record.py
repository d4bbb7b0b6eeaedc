"""Values that a batch run collects: shown as application/vnd.labkit.record+json, read back later.

nbval compares them too, so a compared notebook records only what is the same at each run.
"""

import json
from collections.abc import Mapping
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from labkit.errors import InvalidParameter

MIME = "application/vnd.labkit.record+json"


def record(name: str, value: object) -> None:
    """Show `name = value` and store it in the notebook; InvalidParameter when it is not JSON."""
    if not isinstance(name, str) or not name:
        raise InvalidParameter(f"a record needs a name, not {name!r}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"record {name!r} cannot hold {value!r}: {error}") from None
    if not InteractiveShell.initialized():  # a script: there is no notebook to store it in
        print(f"{name} = {value}")
        return
    display({MIME: {"name": name, "value": value}, "text/plain": f"{name} = {value}"}, raw=True)


def read(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> value of all records in a notebook (its JSON, or an nbformat node), last one wins."""
    found: dict[str, Any] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if entry := output.get("data", {}).get(MIME):
                found[entry["name"]] = entry["value"]
    return found
