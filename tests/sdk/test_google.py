"""google-genai, which sends `x-goog-api-key`: to Gemini's own protocol and to both others."""

import base64
import json

import pytest
from google import genai
from google.genai import errors, types

import talk

PROVIDERS = ("demo-gemini", *talk.PROVIDERS)
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]},
}
TIME = {
    "name": "get_time",
    "parameters_json_schema": {"type": "object", "properties": {"zone": {"enum": ["UTC"]}}, "required": ["zone"]},
}


@pytest.fixture(scope="module")
def client(demo, key):
    with genai.Client(api_key=key, http_options=types.HttpOptions(base_url=demo.address, timeout=30_000)) as client:
        yield client


@pytest.fixture(params=PROVIDERS)
def provider(request) -> str:
    return request.param


def ask(client, stream: bool, **request) -> list:
    """The chunks of the answer: one where it is whole. Each is strictly what the SDK's types say."""
    if not stream:
        return [client.models.generate_content(**request)]
    return list(client.models.generate_content_stream(**request))


def text(chunks) -> str:
    return "".join(chunk.text or "" for chunk in chunks)


def calls(chunks) -> list:
    return [call for chunk in chunks for call in chunk.function_calls or []]


def parts(chunks) -> list:
    return [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]


def finish(chunks):
    return chunks[-1].candidates[0].finish_reason


def test_text_limit_and_usage(client, provider, stream):
    asked = {"model": f"{provider}/demo", "contents": "Count to 5"}
    chunks = ask(client, stream, **asked, config={"system_instruction": "Be brief."})
    assert (text(chunks), finish(chunks)) == ("1, 2, 3, 4, 5", types.FinishReason.STOP)
    usage = chunks[-1].usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert (usage.candidates_token_count, usage.prompt_token_count > 0) == (9, True)
    cut = ask(client, stream, **asked, config={"max_output_tokens": 3})
    assert (text(cut), finish(cut)) == ("1, 2", types.FinishReason.MAX_TOKENS)


def test_stop_sequences(client, provider, stream):
    chunks = ask(client, stream, model=f"{provider}/demo", contents="Count to 5", config={"stop_sequences": [" 3"]})
    assert text(chunks) == "1, 2,"


def test_parallel_calls_and_their_results(client, provider, stream):
    config = {"tools": [{"function_declarations": [WEATHER, TIME]}]}
    contents = [types.UserContent("Please call the tools, both of them.")]
    first = ask(client, stream, model=f"{provider}/demo", contents=contents, config=config)
    made = calls(first)
    assert [(call.name, call.args) for call in made] == [("get_weather", {"city": "demo city"}), ("get_time", {"zone": "UTC"})]
    contents.append(types.ModelContent([part for part in parts(first) if part.function_call]))
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": f"said {call.name}"}))
        for call in made
    ]
    contents.append(types.UserContent(results))
    second = text(ask(client, stream, model=f"{provider}/demo", contents=contents, config=config))
    assert "said get_weather" in second and "said get_time" in second


def test_a_forced_call(client, provider, stream):
    choice = {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["get_time"]}}
    config = {"tools": [{"function_declarations": [WEATHER, TIME]}], "tool_config": choice}
    chunks = ask(client, stream, model=f"{provider}/demo", contents="Hello", config=config)
    assert [call.name for call in calls(chunks)] == ["get_time"]


def test_an_image(client, provider, stream):
    picture = types.Part.from_bytes(data=base64.b64decode(talk.PICTURE), mime_type="image/png")
    chunks = ask(client, stream, model=f"{provider}/demo", contents=["What is this?", picture])
    assert "I received one image." in text(chunks)


def test_structured_output(client, provider, stream):
    schema = {
        "type": "object",
        "properties": {"open": {"type": "boolean"}, "days": {"type": "integer"}},
        "required": ["open", "days"],
        "additionalProperties": False,
    }
    config = {"response_mime_type": "application/json", "response_json_schema": schema}
    chunks = ask(client, stream, model=f"{provider}/demo", contents="Open?", config=config)
    assert json.loads(text(chunks)) == {"open": True, "days": 1}


@pytest.mark.parametrize("provider", ["demo-gemini", "demo-anthropic"])
def test_signed_thoughts_return(client, provider, stream):
    """A call that follows signed thoughts, its results, and the answer: the provider refuses an altered signature."""
    config = {
        "tools": [{"function_declarations": [WEATHER]}],
        "thinking_config": {"include_thoughts": True, "thinking_budget": 2048},
        "max_output_tokens": 8192,
    }
    contents = [types.UserContent("Please call the tool.")]
    first = ask(client, stream, model=f"{provider}/demo", contents=contents, config=config)
    thought = "".join(part.text for part in parts(first) if part.thought and part.text)
    assert "I am a demo" in thought
    assert any(part.thought_signature for part in parts(first))
    assert first[-1].usage_metadata.thoughts_token_count > 0
    contents.append(types.ModelContent(parts(first)))
    (call,) = calls(first)
    contents.append(types.UserContent(types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "rain"}))))
    assert "rain" in text(ask(client, stream, model=f"{provider}/demo", contents=contents, config=config))


@pytest.mark.parametrize(("status", "kind"), [(400, errors.ClientError), (429, errors.ClientError), (500, errors.ServerError)])
def test_errors_have_their_classes(client, provider, status, kind):
    with pytest.raises(kind) as raised:
        client.models.generate_content(model=f"{provider}/demo-error-{status}", contents="Hello")
    # A provider that failed is one that is not available.
    assert raised.value.code == {500: 503}.get(status, status) and raised.value.status


def test_a_wrong_key(demo):
    with genai.Client(api_key="pc_prod_wrong", http_options=types.HttpOptions(base_url=demo.address)) as client:
        with pytest.raises(errors.ClientError) as raised:
            client.models.generate_content(model="demo-gemini/demo", contents="Hello")
    assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")


def test_models(client):
    listed = [model.name for model in client.models.list(config={"page_size": 1000})]
    assert any("demo" in name for name in listed)
