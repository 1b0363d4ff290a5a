"""Ollama's own chat: one document, or one a line."""

import json

from ..said import Said, Usage

FINISH = {"stop": "stop", "length": "length"}


def read(body: bytes, stream: bool) -> Said:
    found, thought = Said(), ""
    for document in [json.loads(line) for line in body.splitlines() if line.strip()] if stream else [json.loads(body)]:
        if "error" in document:
            found.failed = document["error"]
            continue
        message = document["message"]
        found.model = document["model"]
        found.text += message.get("content") or ""
        thought += message.get("thinking") or ""
        for call in message.get("tool_calls") or []:
            found.calls.append(("", call["function"]["name"], call["function"]["arguments"]))
        if document["done"]:
            found.finish = FINISH[document["done_reason"]]
            found.usage = Usage(input=document.get("prompt_eval_count", 0), output=document["eval_count"])
    if thought:
        found.reasoning = [(thought, "")]
    if found.finish == "stop" and found.calls:
        found.finish = "tool_calls"
    return found
