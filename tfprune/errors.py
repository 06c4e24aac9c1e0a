"""The one exception that means "what you gave me is wrong", shared by every room."""


class InputError(ValueError):
    """Input from outside (a file, a key, a flag) cannot be used.

    The message is a single line for the person who gave the input: it names the file, key or flag, says what is
    allowed and what came. Entry points print it without a traceback and exit with code 2.
    """
