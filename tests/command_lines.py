"""What studies say to many command lines, in one process that does not train."""

import json
import subprocess
import sys

_EACH = """
import contextlib, importlib, io, json, sys
from absl import flags
from tfprune.cli import app
from tfprune.cli.run import flags_command

module, name = sys.argv[1].split(":")
asked, told = getattr(importlib.import_module(module), name), []
for words in json.load(sys.stdin):
    values, code = flags.FlagValues(), 0
    flags.DEFINE_bool("debug", False, "As that of every entry point.", flag_values=values)
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            app.run_command([flags_command(asked)] if isinstance(asked, type) else asked(), "", values, words)
        except SystemExit as end:
            code = end.code
    told.append([code, errors.getvalue()])
print(json.dumps(told))
"""


def told_to(asked, lines, environment, place):
    """What became of each command line, as of a process of its own.

    Args:
        asked: `module:name` of the class of a study, or of a function that gives commands.
        lines: lists of words.
        environment: of the process, that of the fixture `light` for example.
        place: folder that the process is in.
    """
    given = {"input": json.dumps(lines), "env": environment, "cwd": place}
    result = subprocess.run([sys.executable, "-c", _EACH, asked], capture_output=True, text=True, **given)
    assert result.returncode == 0, result.stderr
    told = zip(lines, json.loads(result.stdout), strict=True)
    return [subprocess.CompletedProcess(words, code, "", errors) for words, (code, errors) in told]
