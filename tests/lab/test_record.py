import pytest
from IPython.core.interactiveshell import InteractiveShell

from labkit.errors import InvalidParameter
from labkit.lab.record import MIME, read, record


def test_records_are_read_back_from_a_notebook() -> None:
    def output(name: str, value: object) -> dict[str, object]:
        return {"output_type": "display_data", "data": {MIME: {"name": name, "value": value}}}

    cells = [
        {"cell_type": "markdown", "source": "x"},
        {"cell_type": "code", "outputs": [output("a", 1), {"output_type": "stream", "text": "x"}]},
        {"cell_type": "code", "outputs": [output("b", [2, 3]), output("a", 4)]},
    ]
    assert read({"cells": cells}) == {"a": 4, "b": [2, 3]}


def test_record_in_a_script_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert not InteractiveShell.initialized()
    record("limit", 64)
    assert capsys.readouterr().out == "limit = 64\n"


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"raw"])
def test_record_refuses_what_json_cannot_hold(value: object) -> None:
    with pytest.raises(InvalidParameter, match="record 'x' cannot hold"):
        record("x", value)


def test_record_needs_a_name() -> None:
    with pytest.raises(InvalidParameter, match="needs a name, not ''"):
        record("", 1)
