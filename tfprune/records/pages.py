"""One page of tables and pictures, as text, as HTML in one file, and as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from tfprune.records.text_table import text_table

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: .5rem } h2 { font-size: 1.15rem; margin-top: 2rem }
div { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #e3e3e3; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left; padding-left: 0 } thead th { border-bottom: 2px solid #888 }
tbody th { font-weight: normal } img { display: block; max-width: 100%; margin-top: 1rem }
"""


@dataclass(frozen=True)
class Section:
    """A heading and what is under it.

    Attributes:
        title: of the section.
        table: name of a row -> column -> text; all rows have the columns of the first.
        corner: what the names of rows are.
        lines: sentences under the table.
        pictures: description -> an SVG file; text and Markdown leave them out.
    """

    title: str
    table: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    corner: str = ""
    lines: Sequence[str] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def as_text(title: str, sections: Sequence[Section]) -> str:
    """For a terminal."""
    parts = [title]
    for section in sections:
        table = [text_table(section.table)] if section.table else []
        if table or section.lines:
            parts.append("\n".join([section.title, *table, *section.lines]))
    return "\n\n".join(parts)


def as_markdown(title: str, sections: Sequence[Section]) -> str:
    """As a model card: what hubs read comes first."""
    parts = ["---\nlibrary_name: keras\ntags:\n- pruning\n- sparsity\n---", f"# {_plain(title)}"]
    for section in sections:
        if section.table:
            parts.append(f"## {_plain(section.title)}\n\n{_markdown_table(section)}")
        elif section.lines:
            parts.append(f"## {_plain(section.title)}")
        parts.extend(map(_plain, section.lines))
    return "\n\n".join(parts) + "\n"


def as_html(title: str, sections: Sequence[Section]) -> str:
    """A page that needs nothing but itself."""
    body = [f"<h1>{escape(title)}</h1>"]
    for section in sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        if section.table:
            body.append(f"<div>{_html_table(section)}</div>")
        body.extend(f"<p>{escape(line)}</p>" for line in section.lines)
        for text, picture in section.pictures.items():
            data = base64.b64encode(picture).decode()
            body.append(f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{data}">')
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _columns(section: Section) -> list[str]:
    return list(next(iter(section.table.values())))


def _markdown_table(section: Section) -> str:
    columns = _columns(section)
    rows = [[section.corner, *columns], ["---", *["---:"] * len(columns)]]
    rows += [[name, *(row[column] for column in columns)] for name, row in section.table.items()]
    return "\n".join("| " + " | ".join(map(_plain, row)) + " |" for row in rows)


def _plain(text: str) -> str:
    """Text in which Markdown sees nothing but text."""
    for sign in ("\\", "|", "*", "_", "`", "<", "[", "#"):
        text = text.replace(sign, "\\" + sign)
    return text


def _html_table(section: Section) -> str:
    columns = _columns(section)
    head = "".join(f"<th>{escape(name)}</th>" for name in (section.corner, *columns))
    rows = (
        f"<tr><th>{escape(name)}</th>" + "".join(f"<td>{escape(row[column])}</td>" for column in columns) + "</tr>"
        for name, row in section.table.items()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
