"""The official SDK's Responses client, before a provider of that protocol and two of others; and its embeddings."""

import json

import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

import talk

EVENT = TypeAdapter(ResponseStreamEvent)
PROVIDERS = (*talk.PROVIDERS, "demo-gemini")
TOOLS = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": properties, "required": list(properties)}}
    for name, properties in (("get_weather", {"city": {"type": "string"}}), ("get_time", {"zone": {"enum": ["UTC"]}}))
]


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


def ask(client, stream: bool, **request) -> Response:
    if not stream:
        raw = client.responses.with_raw_response.create(**request)
        Response.model_validate_json(raw.content, strict=True)
        return raw.parse()
    last = None
    for event in client.responses.create(stream=True, **request):
        EVENT.validate_python(event.to_dict())
        # A text that a guard held goes out in a frame of its own, under the number of the one it stood in.
        assert last is None or event.sequence_number >= last.sequence_number
        last = event
    assert last.type in ("response.completed", "response.incomplete")
    return last.response


def test_text_limit_and_usage(openai_client, provider, stream):
    asked = {"model": f"{provider}/demo", "input": "Count to 5", "instructions": "Be brief."}
    answer = ask(openai_client, stream, **asked)
    assert (answer.output_text, answer.status) == ("1, 2, 3, 4, 5", "completed")
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert (answer.usage.output_tokens, answer.usage.input_tokens > 0) == (9, True)
    cut = ask(openai_client, stream, **asked, max_output_tokens=3)
    assert (cut.output_text, cut.status, cut.incomplete_details.reason) == ("1, 2", "incomplete", "max_output_tokens")


def test_parallel_calls_and_their_results(openai_client, provider, stream):
    history = [{"role": "user", "content": "Please call the tools, both of them."}]
    first = ask(openai_client, stream, model=f"{provider}/demo", input=history, tools=TOOLS)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("get_weather", {"city": "demo city"}),
        ("get_time", {"zone": "UTC"}),
    ]
    history += [item.to_dict() for item in first.output]
    history += [{"type": "function_call_output", "call_id": call.call_id, "output": f"said {call.name}"} for call in calls]
    second = ask(openai_client, stream, model=f"{provider}/demo", input=history, tools=TOOLS)
    assert second.output_text == "The tool answered: said get_weather\nThe tool answered: said get_time"


def test_reasoning_returns(openai_client, provider, stream):
    """The provider refuses reasoning that was altered."""
    asked = {
        "model": f"{provider}/demo",
        "tools": TOOLS,
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    history = [{"role": "user", "content": "Please call the tool."}]
    first = ask(openai_client, stream, input=history, **asked)
    # Chat Completions shows no reasoning: there the tokens are all that is known of it.
    assert first.usage.output_tokens_details.reasoning_tokens > 0
    assert first.output[-1].type == "function_call"
    history += [item.to_dict() for item in first.output]
    history.append({"type": "function_call_output", "call_id": first.output[-1].call_id, "output": "rain"})
    assert ask(openai_client, stream, input=history, **asked).output_text == "The tool answered: rain"


def test_an_image(openai_client, provider, stream):
    url = f"data:image/png;base64,{talk.PICTURE}"
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": url, "detail": "auto"}]
    answer = ask(openai_client, stream, model=f"{provider}/demo", input=[{"role": "user", "content": content}])
    assert "I received one image." in answer.output_text


class Gate(pydantic.BaseModel):
    model_config = {"extra": "forbid"}
    open: bool
    keeper: str


def test_structured_output(openai_client, provider):
    answer = openai_client.responses.parse(model=f"{provider}/demo", input="Open?", text_format=Gate)
    assert answer.output_parsed == Gate(open=True, keeper="demo keeper")
    with openai_client.responses.stream(model=f"{provider}/demo", input="Open?", text_format=Gate) as events:
        for _ in events:
            pass
        assert events.get_final_response().output_parsed == Gate(open=True, keeper="demo keeper")


def test_embeddings(openai_client):
    answer = openai_client.embeddings.create(model="demo/text-embedding-3-small", input=["one", "two words"])
    assert [len(one.embedding) for one in answer.data] == [8, 8]
    assert answer.usage.total_tokens == 3
    plain = openai_client.embeddings.create(model="demo/text-embedding-3-small", input="one", encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(answer.data[0].embedding)
