"""What a batch leaves to look at: index.html, one page per run, junit.xml. All of it offline.

nbconvert's default pages load scripts from other hosts; its "basic" template gives only the body,
which is put into a page of our own.
"""

import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import nbformat
from nbconvert import HTMLExporter

if TYPE_CHECKING:
    from labkit.lab.batch import Result

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem; }
th, td { border-bottom: 1px solid #8886; }
pre { overflow-x: auto; padding: .5rem; background: #8882; }
img { max-width: 100%; background: white; }
.failed, .timeout { font-weight: bold; }
.prompt { color: #888; font-size: .8rem; }
"""


def write(out: Path, results: Sequence["Result"]) -> Path:
    """Write everything into `out`; the path of the page to open."""
    for result in results:
        if result.output.exists():
            _write_run(out, result)
    (out / "junit.xml").write_bytes(junit(results))
    index = out / "index.html"
    index.write_text(page("labkit batch", _index(results)), encoding="utf-8")
    return index


def page(title: str, body: str) -> str:
    """A whole document that asks no other host for anything."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _write_run(out: Path, result: "Result") -> None:
    notebook = nbformat.read(result.output, as_version=4)
    exporter = HTMLExporter(template_name="basic")  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(notebook)
    back = '<p><a href="index.html">all runs</a></p>'
    path = out / f"{result.run.name}.html"
    path.write_text(page(result.run.name, back + body), encoding="utf-8")


def _index(results: Sequence["Result"]) -> str:
    good = sum(result.status == "ok" for result in results)
    seconds = sum(result.seconds for result in results)
    heads = "run status seconds parameters exercises records".split()
    rows = "\n".join(_row(result) for result in results)
    return (
        f"<h1>labkit batch</h1>\n<p>{good} of {len(results)} runs succeeded, {seconds:.0f} seconds"
        f" in all.</p>\n<table>\n<tr>{''.join(f'<th>{word}</th>' for word in heads)}</tr>\n"
        f"{rows}\n</table>"
    )


def _row(result: "Result") -> str:
    name = html.escape(result.run.name)
    link = f'<a href="{name}.html">{name}</a>' if result.output.exists() else name
    reason = f"<br>{html.escape(result.reason)}" if result.reason else ""
    cells = [
        link,
        f'<span class="{result.status}">{result.status}</span>{reason}',
        f"{result.seconds:.1f}",
        _pairs(result.run.values),
        _pairs(result.outcomes),
        _pairs(result.records),
    ]
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _pairs(values: object) -> str:
    pairs = values.items() if hasattr(values, "items") else ()
    texts = (f"{name}: {v if isinstance(v, str) else json.dumps(v)}" for name, v in pairs)
    return "<br>".join(map(html.escape, texts))


def junit(results: Sequence["Result"]) -> bytes:
    """The results in the form that CI servers read."""
    failed = [result for result in results if result.status != "ok"]
    suite = ElementTree.Element(
        "testsuite",
        name="labkit batch",
        tests=str(len(results)),
        failures=str(len(failed)),
        time=f"{sum(result.seconds for result in results):.1f}",
    )
    for result in results:
        case = ElementTree.SubElement(
            suite, "testcase", classname="batch", name=result.run.name, time=f"{result.seconds:.1f}"
        )
        if result.status != "ok":
            ElementTree.SubElement(case, "failure", type=result.status, message=result.reason)
        text = json.dumps({"parameters": dict(result.run.values), "records": result.records})
        ElementTree.SubElement(case, "system-out").text = text
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
