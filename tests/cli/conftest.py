"""What the tests of entry points share."""

import pytest


@pytest.fixture
def refused():
    """`refused(result, told)`: the process ended with code 2 and one line of error that holds `told`."""

    def check(result, told):
        assert result.returncode == 2, result.stderr
        errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert told in errors[0]
        assert "Traceback" not in result.stderr

    return check
