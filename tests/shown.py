"""Texts that pages show of what their examples print, compared with what these print now."""

import re

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
