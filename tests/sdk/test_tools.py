"""Tools over all four pairs: calls, parallel calls in streams, results, results with images, choice."""

import json

import pytest

import talk
from talk import user

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city"],
}
TIME = {"type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}}
SCHEMAS = {"get_weather": WEATHER, "get_time": TIME}
# What the demo makes of the schemas.
ARGUMENTS = {"get_weather": {"city": "demo city", "days": 3}, "get_time": {"zone": "UTC"}}
OPENAI_TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": schema}}
    for name, schema in SCHEMAS.items()
]
ANTHROPIC_TOOLS = [{"name": name, "description": name, "input_schema": schema} for name, schema in SCHEMAS.items()]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": talk.PICTURE}}
BOTH = "Please call the tools, both of them."


def openai_calls(answer) -> list:
    calls = answer.choices[0].message.tool_calls or []
    assert all(call.type == "function" and call.id for call in calls)
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def anthropic_calls(answer) -> list:
    return [(block.name, block.input) for block in answer.content if block.type == "tool_use"]


def test_openai_call(openai_client, provider, stream):
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo-tool", messages=[user("Weather?")], tools=OPENAI_TOOLS)
    assert openai_calls(answer) == [("get_weather", ARGUMENTS["get_weather"])]
    assert answer.choices[0].finish_reason == "tool_calls"


def test_anthropic_call(anthropic_client, provider, stream):
    answer = talk.anthropic(
        anthropic_client, stream, model=f"{provider}/demo-tool", messages=[user("Weather?")], tools=ANTHROPIC_TOOLS
    )
    assert anthropic_calls(answer) == [("get_weather", ARGUMENTS["get_weather"])]
    assert answer.stop_reason == "tool_use"


def test_openai_parallel_calls_and_results(openai_client, provider, stream):
    turns = [user(BOTH)]
    first = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=turns, tools=OPENAI_TOOLS)
    assert openai_calls(first) == list(ARGUMENTS.items())
    calls = first.choices[0].message.tool_calls
    assert len({call.id for call in calls}) == 2
    turns.append(first.choices[0].message.to_dict())
    turns += [{"role": "tool", "tool_call_id": call.id, "content": f"said {call.function.name}"} for call in calls]
    second = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=turns, tools=OPENAI_TOOLS)
    assert second.choices[0].message.content == "The tool answered: said get_weather\nThe tool answered: said get_time"
    assert second.choices[0].finish_reason == "stop"


def test_anthropic_parallel_calls_and_results(anthropic_client, provider, stream):
    turns = [user(BOTH)]
    first = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=turns, tools=ANTHROPIC_TOOLS)
    assert anthropic_calls(first) == list(ARGUMENTS.items())
    blocks = [block for block in first.content if block.type == "tool_use"]
    assert len({block.id for block in blocks}) == 2
    turns.append({"role": "assistant", "content": [block.to_dict() for block in first.content]})
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": f"said {block.name}"} for block in blocks]
    turns.append(user(results))
    second = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=turns, tools=ANTHROPIC_TOOLS)
    assert talk.text_of(second) == "The tool answered: said get_weather\nThe tool answered: said get_time"
    assert second.stop_reason == "end_turn"


def test_anthropic_result_with_image(anthropic_client, provider, stream):
    turns = [user("Call the tool.")]
    first = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=turns, tools=ANTHROPIC_TOOLS)
    call = next(block for block in first.content if block.type == "tool_use")
    content = [{"type": "text", "text": "Look:"}, IMAGE]
    turns.append({"role": "assistant", "content": [block.to_dict() for block in first.content]})
    turns.append(user([{"type": "tool_result", "tool_use_id": call.id, "content": content}]))
    second = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=turns, tools=ANTHROPIC_TOOLS)
    said = talk.text_of(second)
    if provider == talk.ANTHROPIC:
        assert said == "The tool answered: Look:\nIt sent one image."
    else:
        # A tool's message cannot hold an image at OpenAI: it follows as the user's, and that is what is answered.
        assert "I received one image." in said


def test_failed_tool(anthropic_client, provider, stream):
    turns = [user("Call the tool.")]
    first = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=turns, tools=ANTHROPIC_TOOLS)
    call = next(block for block in first.content if block.type == "tool_use")
    turns.append({"role": "assistant", "content": [block.to_dict() for block in first.content]})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "no such city", "is_error": True}
    second = talk.anthropic(
        anthropic_client, stream, model=f"{provider}/demo", messages=[*turns, user([result])], tools=ANTHROPIC_TOOLS
    )
    assert "no such city" in talk.text_of(second)


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        ("auto", []),
    ],
    ids=["none", "required", "named", "auto"],
)
def test_openai_choice(openai_client, provider, stream, choice, called):
    answer = talk.openai(
        openai_client, stream, model=f"{provider}/demo", messages=[user("Hi")], tools=OPENAI_TOOLS, tool_choice=choice
    )
    assert [name for name, _ in openai_calls(answer)] == called


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "none"}, []),
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "auto"}, []),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else None,
)
def test_anthropic_choice(anthropic_client, provider, stream, choice, called):
    answer = talk.anthropic(
        anthropic_client, stream, model=f"{provider}/demo", messages=[user("Hi")], tools=ANTHROPIC_TOOLS, tool_choice=choice
    )
    assert [name for name, _ in anthropic_calls(answer)] == called


def test_one_call_at_a_time(openai_client, anthropic_client, provider, stream):
    answer = talk.openai(
        openai_client, stream, model=f"{provider}/demo", messages=[user(BOTH)], tools=OPENAI_TOOLS, parallel_tool_calls=False
    )
    assert len(openai_calls(answer)) == 1
    message = talk.anthropic(
        anthropic_client,
        stream,
        model=f"{provider}/demo",
        messages=[user(BOTH)],
        tools=ANTHROPIC_TOOLS,
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
    )
    assert len(anthropic_calls(message)) == 1


def test_arguments_arrive_in_pieces(openai_client, provider):
    """A stream is a stream: no call comes in one piece."""
    chunks = openai_client.chat.completions.create(
        model=f"{provider}/demo-tool", messages=[user("Weather?")], tools=OPENAI_TOOLS, stream=True
    )
    pieces = [
        call.function.arguments
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
        if call.function.arguments
    ]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == ARGUMENTS["get_weather"]
