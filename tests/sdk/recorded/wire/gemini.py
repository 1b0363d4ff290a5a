"""Gemini `generateContent` and `streamGenerateContent`, of AI Studio and Vertex AI."""

import json

from ..said import Said, Usage, events

FINISH = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "1": "stop", "2": "length", "3": "content_filter"}


def read(body: bytes, stream: bool) -> Said:
    """Every chunk of a stream has the shape of a whole answer."""
    found, thought = Said(), ""
    for answer in events(body) if stream else [json.loads(body)]:
        found.model = found.model or answer.get("modelVersion", "")
        found.usage = usage(answer.get("usageMetadata") or {}) or found.usage
        if (answer.get("promptFeedback") or {}).get("blockReason"):
            found.finish = "content_filter"
        for candidate in answer.get("candidates") or []:
            if candidate.get("index", 0) != 0:
                continue
            for part in (candidate.get("content") or {}).get("parts") or []:
                if part.get("thought"):
                    thought += part.get("text") or ""
                elif "text" in part:
                    found.text += part["text"]
                elif call := part.get("functionCall"):
                    found.calls.append((call.get("id") or "", call["name"], call.get("args") or {}))
                if part.get("thoughtSignature"):
                    (found.redacted if {"text", "functionCall"} & set(part) else found.of_tools).append(part["thoughtSignature"])
            if reason := candidate.get("finishReason"):
                found.finish = FINISH[str(reason)]
    if thought:
        found.reasoning = [(thought, "")]
    if found.finish == "stop" and found.calls:
        found.finish = "tool_calls"
    return found


def usage(counted: dict) -> Usage | None:
    """What the provider's tools put before the model is counted apart, and so are thoughts."""
    if not {"promptTokenCount", "candidatesTokenCount"} & set(counted):
        return None
    thoughts = counted.get("thoughtsTokenCount") or 0
    return Usage(
        input=(counted.get("promptTokenCount") or 0) + (counted.get("toolUsePromptTokenCount") or 0),
        read=counted.get("cachedContentTokenCount") or 0,
        output=(counted.get("candidatesTokenCount") or 0) + thoughts,
        reasoning=thoughts,
    )
