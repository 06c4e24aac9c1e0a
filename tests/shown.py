"""Texts that pages show of what their examples print, compared with what these print now."""

import functools
import re
import shlex
import subprocess
import sys

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")


def blocks(text, language):
    """Code blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def words(text):
    """Lines without their numbers and without the room that these take."""
    return [_NUMBER.sub("#", line).split() for line in text.splitlines()]


def numbers(text, start):
    """Numbers of the first line that starts so, its beginning left out."""
    line = next(line for line in text.splitlines() if line.startswith(start))
    return [float(number.replace(",", "")) for number in _NUMBER.findall(line.removeprefix(start))]


def table(text, corner, named=False):
    """Cells of the page's table whose first cell is `corner`, without the first column and the rule below the head.

    Args:
        text: of the page.
        corner: first cell of its head, which no other table has.
        named: rows below the head by their first cell, in place of all rows, the head among them.
    """
    rows = [[cell.strip().strip("*") for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    lines = text.splitlines()
    heads = [
        place
        for place, row in enumerate(rows[:-1])
        if lines[place].startswith("|") and row[0] == corner and set(lines[place + 1]) <= set("|-: ")
    ]
    (start,) = heads
    end = next((place for place in range(start, len(rows)) if not lines[place].startswith("|")), len(rows))
    found = [rows[start], *rows[start + 2 : end]]
    return {row[0]: row[1:] for row in found[1:]} if named else [row[1:] for row in found]


def shell_lines(text):
    """Lines of the page's blocks for a shell, those that go on put together."""
    return "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()


def commands(text):
    """Commands of this package in the page's blocks for a shell: (words from its name on, the line they are in)."""
    found = []
    for line in shell_lines(text):
        match = re.search(r"(?:-m tfprune\.|(?:^|[/\s])tfprune )(\w+.*)", line.partition("#")[0])
        if match:
            found.append((shlex.split(match[1]), line))
    return found


@functools.cache
def shown_help(*words):
    """Text of `tfprune WORDS --help`."""
    done = subprocess.run([sys.executable, "-m", "tfprune", *words, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
