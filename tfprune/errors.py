"""The one exception that means "what you gave me is wrong", shared by every room."""

_LONGEST = 2000


class InputError(ValueError):
    """Input from outside (a file, a key, a flag) cannot be used.

    The message is a single line for the person who gave the input: it names the file, key or flag, says what is
    allowed and what came. What came may itself hold line breaks, or be very long: the line is kept one, and of bounded
    length. Entry points print it without a traceback and exit with code 2.
    """

    def __init__(self, message: str):
        line = " ".join(part.strip() for part in str(message).splitlines())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 3 :]}")
