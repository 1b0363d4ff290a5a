"""Chat Completions as its many servers write it: contents in lists, reasoning under three names, usage in odd places."""

import json

from ..said import Said, Usage, arguments, events

FINISH = {"function_call": "tool_calls", "eos": "stop"}


def read(body: bytes, stream: bool) -> Said:
    documents = events(body) if stream else [json.loads(body)]
    found = Said()
    calls: dict = {}
    plain, detailed = "", ""
    for document in documents:
        if error := document.get("error"):
            found.failed = error.get("message") or "an error"
            continue
        found.model = found.model or document.get("model") or ""
        counted = document.get("usage") or (document.get("x_groq") or {}).get("usage")
        found.usage = usage(counted) if counted else found.usage
        for choice in document.get("choices") or []:
            if choice.get("index", 0) != 0:
                continue
            message = choice.get("delta") or choice.get("message") or {}
            text, thought = content(message.get("content"))
            found.text += text + (message.get("refusal") or "")
            found.refused = found.refused or bool(message.get("refusal"))
            plain += thought + (message.get("reasoning_content") or message.get("reasoning") or "")
            details = message.get("reasoning_details") or []
            detailed += "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
            found.redacted += [detail["data"] for detail in details if detail.get("data")]
            for place, call in enumerate(message.get("tool_calls") or []):
                # A stream numbers its calls; whole ones stand in order.
                gather(calls, call.get("index", place) if stream else place, call)
            if legacy := message.get("function_call"):
                gather(calls, -1, {"function": legacy})
            if reason := choice.get("finish_reason"):
                found.finish = FINISH.get(reason, reason)
    if plain or detailed:
        found.reasoning = [(plain or detailed, "")]
    found.calls = [(call["id"], call["name"], arguments(call["arguments"])) for _, call in sorted(calls.items())]
    return found


def gather(calls: dict, place: int, piece: dict):
    whole = calls.setdefault(place, {"id": "", "name": "", "arguments": ""})
    called = piece.get("function") or piece.get("custom") or {}
    whole["id"] = whole["id"] or piece.get("id") or ""
    whole["name"] = whole["name"] or called.get("name") or ""
    whole["arguments"] += called.get("arguments") or called.get("input") or ""


def content(value) -> tuple[str, str]:
    """Text and thinking of a content."""
    text, thought = "", ""
    for part in [{"type": "text", "text": value}] if isinstance(value, str) else value or []:
        if part["type"] == "text":
            text += part["text"]
        elif part["type"] == "thinking":
            thought += "".join(piece["text"] for piece in part["thinking"])
    return text, thought


def usage(counted: dict) -> Usage:
    """What was written to a cache is part of the prompt, and is not where the prompt has no room for it: OpenRouter has Gemini make a
    cache and then read all of it, and charges both (`test_recorded_costs.py` holds this reading to what was charged)."""
    prompt, completion = counted.get("prompt_tokens_details") or {}, counted.get("completion_tokens_details") or {}
    read = prompt.get("cached_tokens") or counted.get("num_cached_tokens") or 0
    written = prompt.get("cache_write_tokens") or 0
    total = counted["prompt_tokens"]
    return Usage(
        input=total if read + written <= total else total + written,
        read=read,
        written=written,
        output=counted.get("completion_tokens") or 0,
        reasoning=completion.get("reasoning_tokens") or 0,
    )
