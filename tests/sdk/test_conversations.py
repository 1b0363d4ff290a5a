"""Conversations by name through the official SDK: `previous_response_id`, `retrieve`, `delete`."""

import json

import openai
import pytest
from openai.types.responses import Response

import talk

TOOLS = [
    {
        "type": "function",
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": False,
    }
]


@pytest.fixture(scope="module")
def keeping(lab):
    return lab("conversations", "[conversations]\nenabled = true\n")


@pytest.fixture(scope="module")
def client(keeping) -> openai.OpenAI:
    return openai.OpenAI(base_url=keeping.openai_url, api_key=keeping.key()["key"], max_retries=0, timeout=30)


def create(client, stream: bool, **request) -> Response:
    if not stream:
        return client.responses.create(**request)
    return list(client.responses.create(stream=True, **request))[-1].response


def test_a_result_finds_its_call(client, provider, stream):
    """The provider refuses a result without its call, which only the gateway has kept."""
    model = f"{provider}/demo-tool"
    first = create(client, stream, model=model, input="Weather?", tools=TOOLS)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"city": "demo city"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    second = create(client, stream, model=model, input=[result], previous_response_id=first.id, tools=TOOLS)
    assert "sunny" in second.output_text
    third = create(client, stream, model=f"{provider}/demo", input="And then?", previous_response_id=second.id, tools=TOOLS)
    assert third.output_text and third.usage.input_tokens > second.usage.input_tokens
    with pytest.raises(openai.OpenAIError):
        create(client, stream, model=model, input=[result], tools=TOOLS)


def test_a_conversation_changes_its_provider(client, stream):
    first = create(client, stream, model=f"{talk.OPENAI}/demo-tool", input="Weather?", tools=TOOLS)
    [call] = [item for item in first.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    for model in (f"{talk.ANTHROPIC}/demo-tool", f"{talk.OPENAI}/demo-tool"):
        second = create(client, stream, model=model, input=[result], previous_response_id=first.id, tools=TOOLS)
        assert "sunny" in second.output_text


def test_an_answer_is_read_and_deleted(client, provider, stream):
    told = create(client, stream, model=f"{provider}/demo", input="hello")
    raw = client.responses.with_raw_response.retrieve(told.id)
    Response.model_validate_json(raw.content, strict=True)
    assert raw.parse().output_text == told.output_text
    client.responses.delete(told.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(told.id)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=f"{provider}/demo", input="and?", previous_response_id=told.id)
    assert (error.value.code, error.value.param) == ("previous_response_not_found", "previous_response_id")


def test_what_is_not_to_be_stored_is_not(client, provider, stream):
    told = create(client, stream, model=f"{provider}/demo", input="hello", store=False)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=f"{provider}/demo", input="and?", previous_response_id=told.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(told.id)


def test_another_key_knows_nothing(client, keeping, provider):
    told = client.responses.create(model=f"{provider}/demo", input="hello")
    other = openai.OpenAI(base_url=keeping.openai_url, api_key=keeping.key()["key"], max_retries=0, timeout=30)
    with pytest.raises(openai.BadRequestError):
        other.responses.create(model=f"{provider}/demo", input="and?", previous_response_id=told.id)
    for ask in (other.responses.retrieve, other.responses.delete):
        with pytest.raises(openai.NotFoundError):
            ask(told.id)


def test_an_answer_that_was_cut_short_goes_on(client, provider, stream):
    told = create(client, stream, model=f"{provider}/demo", input="hello", max_output_tokens=2)
    assert told.status == "incomplete"
    assert client.responses.create(model=f"{provider}/demo", input="go on", previous_response_id=told.id).output_text
