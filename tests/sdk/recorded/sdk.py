"""An answer's bytes read by an official SDK, strictly: every document must be valid by the SDK's types (the SDKs themselves only
construct), and streams go through the SDK's own accumulation."""

import json

import anthropic
import httpx2
import openai
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from .said import events

RESPONSE_EVENT = TypeAdapter(ResponseStreamEvent)
MESSAGE_EVENTS = {True: TypeAdapter(BetaRawMessageStreamEvent), False: TypeAdapter(RawMessageStreamEvent)}


def read_openai(body: bytes, stream: bool) -> dict:
    """The completion an application gets."""
    if not stream:
        return ChatCompletion.model_validate_json(body, strict=True).to_dict()
    for event in events(body):
        ChatCompletionChunk.model_validate(event)
    client = openai.OpenAI(api_key="none", base_url="http://none", http_client=answering(body, httpx2))
    state = ChatCompletionStreamState(response_format={"type": "text"})
    try:
        with client.chat.completions.stream(model="none", messages=[], stream_options={"include_usage": True}) as stream:
            for _ in stream:
                pass
            return stream.get_final_completion().to_dict()
    except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
        # The helper takes its own default for a type to parse into, and then refuses what was cut.
        for chunk in client.chat.completions.create(model="none", messages=[], stream=True):
            state.handle_chunk(chunk)
        return state.current_completion_snapshot.to_dict()


def read_anthropic(body: bytes, stream: bool, beta: bool, recorded: bool = False) -> dict:
    """The message an application gets. `recorded` bytes are the provider's own, and may be older than the SDK."""
    if not stream:
        if recorded:
            body = json.dumps(brought_up_to_date(json.loads(body))).encode()
        return (BetaMessage if beta else Message).model_validate_json(body, strict=True).to_dict()
    for event in events(body):
        if event["type"] != "ping":
            MESSAGE_EVENTS[beta].validate_python(brought_up_to_date(event) if recorded else event)
    client = anthropic.Anthropic(api_key="none", base_url="http://none", http_client=answering(body, httpx2))
    api = client.beta.messages if beta else client.messages
    with api.stream(model="none", messages=[], max_tokens=1) as stream:
        for _ in stream:
            pass
        return stream.get_final_message().to_dict()


def read_responses(body: bytes, stream: bool, recorded: bool = False) -> dict:
    """The response an application gets."""
    if not stream:
        if recorded:
            body = json.dumps(brought_up_to_date(json.loads(body))).encode()
        return Response.model_validate_json(body, strict=True).to_dict()
    for event in events(body):
        RESPONSE_EVENT.validate_python(brought_up_to_date(event) if recorded else event)
    client = openai.OpenAI(api_key="none", base_url="http://none", http_client=answering(body, httpx2))
    with client.responses.stream(model="none", input="none") as stream:
        for event in stream:
            if event.type == "response.incomplete":
                # The helper's own last word is only of what is complete.
                return event.response.to_dict()
        return stream.get_final_response().to_dict()


def brought_up_to_date(document: dict) -> dict:
    """Adds counts that the API did not report when it was recorded and the SDK's types require: of fetches, and of what was
    written to a cache."""
    for holder in (document, document.get("message") or {}, document.get("response") or {}):
        usage = holder.get("usage") or {}
        if usage.get("server_tool_use"):
            usage["server_tool_use"].setdefault("web_fetch_requests", 0)
        if usage.get("input_tokens_details"):
            usage["input_tokens_details"].setdefault("cache_write_tokens", 0)
    return document


def answering(body: bytes, http):
    """A client that gets these bytes for whatever it asks."""
    headers = {"content-type": "text/event-stream"}
    return http.Client(transport=http.MockTransport(lambda _: http.Response(200, headers=headers, content=body)))
