"""What does not come through unchanged, each with its reason: recording and client (`*` for all). A recording here that comes
through fails the test."""

EXPLAINED: dict[tuple[str, str], str] = {}
