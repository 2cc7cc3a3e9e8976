"""Pieces of self-contained HTML pages: readable on a phone, in the dark and on paper.

Belongs here: escaping, the style, tables, pictures. Does not: what a page says (`report`).
Floor 1.

Nothing is loaded from elsewhere: styles and pictures are part of the page, and so is the script,
if there is one.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1c2430; --dim: #5c6675; --back: #ffffff; --panel: #f4f6f9;
  --line: #dbe0e8; --accent: #1f6fb2; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --dim: #a0a9b8; --back: #14181f; --panel: #1e242e;
  --line: #353d4b; --accent: #6cb4f0; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem clamp(0.75rem, 3vw, 2rem) 4rem; background: var(--back);
  color: var(--text); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; padding-bottom: 0.25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 0.4rem; overflow-wrap: anywhere; }
nav a { display: inline-block; margin-right: 1rem; } a { color: var(--accent); }
p, li { max-width: 65ch; } .dim { color: var(--dim); } .bad { color: var(--bad); }
.wide { overflow-x: auto; -webkit-overflow-scrolling: touch; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.35rem 0.8rem 0.35rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: break-word; max-width: 30rem; }
th { color: var(--dim); font-weight: 600; } td.number, th.number { text-align: right; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 0 0 1.5rem; } figcaption { color: var(--dim); margin: 0.3rem 0; overflow-wrap: anywhere; }
figure .picture { display: block; overflow-x: auto; background: #ffffff; border: 1px solid var(--line);
  border-radius: 0.5rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); gap: 0 2rem; }
details summary { cursor: pointer; color: var(--accent); }
@media (max-width: 40rem) { th, td { padding-right: 0.6rem; }
  figure img.wide-picture { max-width: none; width: 46rem; } }
@media print { body { max-width: none; } figure { break-inside: avoid; } }
"""


def page(title: str, sections: Iterable[str], *, style: str = "", script: str = "") -> str:
    """Make a whole page of sections of HTML.

    The page tells the browser to load nothing and to run no script but the given one, whatever
    else may have found its way in.

    Args:
        title: what stands above it all.
        sections: HTML.
        style: CSS besides that of every page.
        script: JavaScript, run when all is there; the page has to be readable without.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    permitted = f"'sha256-{digest}'" if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {permitted}; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n"
        + "\n".join(sections)
        + (f"\n<script>{script}</script>" if script else "")
        + "\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Put HTML under a headline that can be linked to; nothing if there is none."""
    inside = "\n".join(part for part in parts if part)
    return f'<section id="{anchor(title)}">\n<h2>{escape(title)}</h2>\n{inside}\n</section>' if inside else ""


def contents(titles: Iterable[str]) -> str:
    """Link to sections by their titles."""
    return "<nav>" + "".join(f'<a href="#{anchor(each)}">{escape(each)}</a>' for each in titles) + "</nav>"


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Make a table, numbers to the right; nothing if there are no rows.

    Example:
        >>> table(["name", "value"], [["F1", 0.51239]]).count("0.5124")
        1
    """
    filled = [list(row) for row in rows]
    if not filled:
        return ""
    numeric = [any(_is_number(row[i]) for row in filled) for i in range(len(headers))]
    marks = [' class="number"' if each else "" for each in numeric]
    head = "".join(f"<th{mark}>{escape(each)}</th>" for mark, each in zip(marks, headers, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{mark}>{cell(each)}</td>" for mark, each in zip(marks, row, strict=True)) + "</tr>\n"
        for row in filled
    )
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'


def facts(values: Mapping[str, Any]) -> str:
    """List facts by name; nothing if there are none."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{cell(value)}</dd>\n" for name, value in values.items())
    return f"<dl>\n{items}</dl>" if items else ""


def picture(title: str, png: bytes) -> str:
    """Show a PNG file inline, under its title; a wide one can be scrolled on a phone."""
    width = int.from_bytes(png[16:20], "big")  # of the IHDR chunk, which every PNG file begins with
    wide = ' class="wide-picture"' if width > 800 else ""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><span class="picture">'
        f'<img{wide} alt="{escape(title)}" src="{source}"></span></figure>'
    )


def cards(*parts: str) -> str:
    """Put pieces of HTML side by side, as far as the screen is wide enough; nothing if there is none."""
    inside = "\n".join(f"<div>{part}</div>" for part in parts if part)
    return f'<div class="cards">\n{inside}\n</div>' if inside else ""


def folded(title: str, *parts: str) -> str:
    """Hide HTML behind a title to be clicked on; nothing if there is none."""
    inside = "\n".join(part for part in parts if part)
    return f"<details><summary>{escape(title)}</summary>\n{inside}\n</details>" if inside else ""


def cell(value: Any) -> str:
    """Show a value: numbers by four significant digits, `None` as a dash."""
    if value is None:
        return "&ndash;"
    if _is_number(value) and not isinstance(value, int):
        return escape(f"{value:.4g}")
    return escape(str(value)).replace("_", "_<wbr>")  # long names of scores may be broken there


def escape(text: str) -> str:
    """Make text safe to stand in HTML, in attributes too."""
    return html.escape(text, quote=True)


def anchor(title: str) -> str:
    """Make a title into a name to link to."""
    return "".join(each if each.isalnum() else "-" for each in title.lower())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and (math.isfinite(value) or value != value)
