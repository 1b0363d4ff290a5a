"""OpenAI Responses."""

import json

from ..said import Said, Usage, arguments, events

INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
ENDS = ("response.completed", "response.incomplete", "response.failed")


def read(body: bytes, stream: bool) -> Said:
    if not stream:
        return of(json.loads(body))
    sent = events(body)
    if broken := [event for event in sent if event["type"] == "error"]:
        return Said(failed=broken[0].get("message") or broken[0].get("error", {}).get("message") or "an error")
    (end,) = [event["response"] for event in sent if event["type"] in ENDS]
    found = of(end)
    items = [event["item"] for event in sent if event["type"] == "response.output_item.done"]
    sent_as_items = of({**end, "output": items})
    if not end["output"]:
        # Some servers end with an empty list and mean the items they sent.
        return sent_as_items
    # OpenAI encrypts reasoning anew each time that it says it; any of them will do.
    found.redacted = sent_as_items.redacted
    return found


def pieces(body: bytes) -> Said:
    """What the pieces of a stream add up to, in the order of their items; the last document must say the same."""
    found = Said()
    calls: dict = {}
    thoughts: dict = {}
    for event in events(body):
        match event["type"]:
            case "response.output_text.delta" | "response.refusal.delta":
                found.text += event["delta"]
                found.refused = found.refused or "refusal" in event["type"]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                place = event["output_index"], event["type"]
                thoughts[place] = thoughts.get(place, "") + event["delta"]
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                calls[event["output_index"]][2] += event["delta"]
            case "response.output_item.added":
                item = event["item"]
                if item["type"] in ("function_call", "custom_tool_call"):
                    calls[event["output_index"]] = [item["call_id"], item["name"], ""]
    found.calls = [(identity, name, arguments(text)) for _, (identity, name, text) in sorted(calls.items())]
    found.reasoning = [(text, "") for _, text in sorted(thoughts.items()) if text]
    return found


def of(answer: dict) -> Said:
    found = Said(model=answer["model"], usage=usage(answer.get("usage")))
    if answer.get("error"):
        found.failed = answer["error"]["message"]
    for item in answer["output"]:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    found.text += part.get("text") or part.get("refusal") or ""
                    found.refused = found.refused or part["type"] == "refusal"
            case "function_call":
                found.calls.append((item["call_id"], item["name"], arguments(item["arguments"])))
            case "custom_tool_call":
                found.calls.append((item["call_id"], item["name"], arguments(item["input"])))
            case "reasoning":
                text = "".join(part["text"] for part in [*(item.get("summary") or []), *(item.get("content") or [])])
                if text:
                    found.reasoning.append((text, ""))
                if item.get("encrypted_content"):
                    found.redacted.append(item["encrypted_content"])
    if answer["status"] == "incomplete":
        found.finish = INCOMPLETE[answer["incomplete_details"]["reason"]]
    else:
        found.finish = "tool_calls" if found.calls else "stop"
    return found


def usage(counted: dict | None) -> Usage | None:
    if not counted:
        return None
    read, written = counted.get("input_tokens_details") or {}, counted.get("output_tokens_details") or {}
    return Usage(
        input=counted["input_tokens"],
        read=read.get("cached_tokens") or 0,
        written=read.get("cache_write_tokens") or 0,
        output=counted["output_tokens"],
        reasoning=written.get("reasoning_tokens") or 0,
    )
