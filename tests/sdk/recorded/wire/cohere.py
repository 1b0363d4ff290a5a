"""Cohere's chat, version 2. What is billed counts; a plan for tools is thinking aloud."""

import json

from ..said import Said, Usage, arguments, events

FINISH = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop_sequence", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}


def read(body: bytes, stream: bool) -> Said:
    return of(joined(events(body)) if stream else json.loads(body))


def joined(sent: list[dict]) -> dict:
    """A stream's answer, as it would be whole."""
    message = {"content": [], "tool_calls": [], "tool_plan": ""}
    answer: dict = {"message": message}
    for event in sent:
        delta = event.get("delta") or {}
        piece = delta.get("message") or {}
        match event["type"]:
            case "content-start":
                message["content"].append(dict(piece["content"]))
            case "content-delta":
                for name, text in piece["content"].items():
                    message["content"][-1][name] = message["content"][-1].get(name, "") + text
            case "tool-plan-delta":
                message["tool_plan"] += piece["tool_plan"]
            case "tool-call-start":
                message["tool_calls"].append(json.loads(json.dumps(piece["tool_calls"])))
            case "tool-call-delta":
                message["tool_calls"][-1]["function"]["arguments"] += piece["tool_calls"]["function"]["arguments"]
            case "message-end":
                answer |= delta
    return answer


def of(answer: dict) -> Said:
    message = answer["message"]
    blocks = message.get("content") or []
    thoughts = [message.get("tool_plan") or "", *(block["thinking"] for block in blocks if block["type"] == "thinking")]
    return Said(
        text="".join(block["text"] for block in blocks if block["type"] == "text"),
        calls=[
            (call["id"], call["function"]["name"], arguments(call["function"]["arguments"]))
            for call in message.get("tool_calls") or []
        ],
        reasoning=[(thought, "") for thought in thoughts if thought],
        finish=FINISH[answer["finish_reason"]],
        usage=usage(answer["usage"]),
    )


def usage(counted: dict) -> Usage:
    """The cache holds a prefix of all that was read, and what is not billed of that stands first."""
    billed, all_read = int(counted["billed_units"]["input_tokens"]), int(counted["tokens"]["input_tokens"])
    own = all_read - billed
    cached = int(counted.get("cached_tokens") or 0)
    return Usage(input=billed, read=max(0, cached - own), output=int(counted["billed_units"]["output_tokens"]))
