"""What the site does to its pages, so that the same Markdown reads well on a code host, too.

Pages link to files of the repository outside `docs` (`../notebooks/results/x.png`): the site takes these files in.
Names such as `tfprune.prune` in backquotes lead to their entry in the API reference, in docstrings, too.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
_OUTSIDE = re.compile(r"(?<=\]\()((?:\.\./)+[^)#\s]+)(?=[)#])")
_NAME = re.compile(r"(<(?:a|autoref)\b[^>]*>)?<code>(tfprune(?:\.\w+)+)(?:\(\))?</code>")
_TAKEN = "repository"  # where files of the repository lie in the site


def on_page_markdown(markdown, page, config, files):
    folder = dirname(page.file.src_uri)

    def taken(match):
        path = normpath(f"docs/{folder}/{match[1]}")
        if path.startswith(("docs/", "..")) or not (ROOT / path).is_file():
            return match[1]  # a page; what does not exist is the build's to tell
        place = f"{_TAKEN}/{path}"
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
        return relpath(place, folder or ".")

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.DOTALL | re.MULTILINE)  # code stays
    parts[::2] = [_OUTSIDE.sub(taken, part) for part in parts[::2]]
    return "".join(parts)


def on_page_content(html, page, config, files):
    """Of these autorefs makes links, if the reference has an entry of that name."""

    def linked(match):
        return match[0] if match[1] else f'<autoref optional identifier="{match[2]}">{match[0]}</autoref>'

    return _NAME.sub(linked, html)
