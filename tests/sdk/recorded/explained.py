"""What does not come through to the letter, each with its reason: recording and client (`*` for all). Each is a document that
the SDK's types refuse; a recording here that comes through fails the test."""

NO_ACTION = "OpenAI's own: a search that has just begun, without the `action` that its types demand; it passes byte for byte"
NO_TYPE = "OpenAI's own: events for a patch's pieces, for which its SDK has no type; they pass byte for byte"
BY_HAND = "written by hand in the suite that recorded it (`complete` is no status of the API); it passes byte for byte"
NO_CUSTOM = "a call of a custom tool, which Chat Completions streams as `custom`; the SDK's type of a chunk knows only `function`"

EXPLAINED: dict[tuple[str, str], str] = {
    ("01032", "responses"): NO_ACTION,
    ("01186", "responses"): NO_ACTION,
    ("08596", "responses"): NO_TYPE,
    ("08676", "openai"): NO_CUSTOM,
    ("01134", "responses"): BY_HAND,
    ("01135", "responses"): BY_HAND,
    ("01200", "responses"): BY_HAND,
}
