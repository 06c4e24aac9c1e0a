"""What is known to fail: network -> capability -> why, in one line. Wrong results are never known gaps."""

KNOWN: dict[str, dict[str, str]] = {}
