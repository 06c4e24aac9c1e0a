"""What is known to fail: network -> capability -> why, in one line. Wrong results are never known gaps."""

KNOWN: dict[str, dict[str, str]] = {
    "hub/MiT": {"channels": "its blocks reshape by the width of what they read, and a reshape stays as it is"},
}
