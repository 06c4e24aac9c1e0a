"""What the site does to its pages, so that the same Markdown reads well on a code host, too.

Pages link to files of the repository outside `docs` (`../notebooks/results/x.png`): the site takes these files in.
Names such as `tfprune.prune` in backquotes lead to their entry in the API reference.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from posixpath import dirname, normpath, relpath

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
_OUTSIDE = re.compile(r"(?<=\]\()((?:\.\./)+[^)#\s]+)(?=[)#])")
_NAME = re.compile(r"(?<![\[`])`tfprune\.(\w+)`(?!\])")
_TAKEN = "repository"  # where files of the repository lie in the site


def public_names() -> set[str]:
    """`tfprune.__all__`, read from the source: building the site needs no TensorFlow."""
    tree = ast.parse((ROOT / "tfprune" / "__init__.py").read_text())
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return set(next(ast.literal_eval(node.value) for node in assigned if node.targets[0].id == "__all__"))


_PUBLIC = public_names()


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

    def linked(match):
        return f"[{match[0]}][tfprune.{match[1]}]" if match[1] in _PUBLIC else match[0]

    parts = re.split(r"(^```.*?^```$|^#.*?$)", markdown, flags=re.DOTALL | re.MULTILINE)  # code and headings stay
    for index in range(0, len(parts), 2):
        parts[index] = _NAME.sub(linked, _OUTSIDE.sub(taken, parts[index]))
    return "".join(parts)
