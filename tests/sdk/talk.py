"""One question by either SDK, whole or streamed, with every document checked against the SDK's types on its way (the SDKs
themselves only construct). Streams go through the SDK's own accumulation."""

from anthropic.types import Message, RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

# The demo's connections.
OPENAI, ANTHROPIC = "demo", "demo-anthropic"
PROVIDERS = (OPENAI, ANTHROPIC)
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
ON_THE_WIRE = {
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
}
MESSAGE_EVENT = TypeAdapter(RawMessageStreamEvent)


def openai(client, stream: bool, **request) -> ChatCompletion:
    if not stream:
        raw = client.chat.completions.with_raw_response.create(**request)
        ChatCompletion.model_validate_json(raw.content, strict=True)
        return raw.parse()
    # Said, because the SDK takes its own default for a type to parse into and then refuses an answer that was cut. What it
    # makes of the chunks is read before it parses, for the same reason.
    state = ChatCompletionStreamState(response_format={"type": "text"})
    options = {"stream_options": {"include_usage": True}, **request}
    for chunk in client.chat.completions.create(stream=True, **options):
        ChatCompletionChunk.model_validate(chunk.to_dict())
        state.handle_chunk(chunk)
    return state.current_completion_snapshot


def anthropic(client, stream: bool, **request) -> Message:
    request = {"max_tokens": 4096, **request}
    if not stream:
        raw = client.messages.with_raw_response.create(**request)
        Message.model_validate_json(raw.text(), strict=True)
        return raw.parse()
    with client.messages.stream(**request) as events:
        for event in events:
            # The others are the SDK's own.
            if event.type in ON_THE_WIRE:
                MESSAGE_EVENT.validate_python(event.to_dict())
        return events.get_final_message()


def text_of(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def user(content) -> dict:
    return {"role": "user", "content": content}


def assistant(content) -> dict:
    return {"role": "assistant", "content": content}
