"""The judges of requests find what is wrong: each takes a plain request and none of its bad siblings."""

import copy

import pytest

import request_types
from upstream import Received

TEXT = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
PLAIN = {
    "openai": ("/v1/chat/completions", TEXT),
    "responses": ("/v1/responses", {"model": "m", "input": "Hello"}),
    "anthropic": ("/v1/messages", {**TEXT, "max_tokens": 5}),
    "claude_on_vertex": (
        "/v1/projects/p/locations/l/publishers/anthropic/models/m@1:rawPredict",
        {"messages": TEXT["messages"], "max_tokens": 5, "anthropic_version": "vertex-2023-10-16"},
    ),
    "gemini": ("/v1beta/models/m:generateContent", {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}),
    "mistral": ("/v1/chat/completions", TEXT),
    "cohere_v2": ("/v2/chat", TEXT),
    "bedrock": ("/model/a.b-v1%3A0/converse", {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}),
}
WRONG = [
    ("openai", ["messages", 0, "role"], "judge"),
    ("openai", ["sytem"], "x"),
    ("openai", ["temperature"], "hot"),
    ("openai", ["messages", 0, "nmae"], "x"),
    ("openai", ["stream_options"], {"include_usage": True}),
    ("responses", ["messages"], []),
    ("responses", ["input"], [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]),
    ("responses", ["text"], {"fromat": {"type": "text"}}),
    ("anthropic", ["messages", 0, "nmae"], "x"),
    ("anthropic", ["messages", 0, "content"], [{"type": "image_url", "image_url": {"url": "x"}}]),
    ("anthropic", ["stop"], "x"),
    ("claude_on_vertex", ["model"], "m"),
    ("claude_on_vertex", ["stream"], True),
    ("gemini", ["messages"], []),
    ("gemini", ["contents", 0, "parts", 0, "thougth"], True),
    ("gemini", ["generationConfig"], {"maxOutputTokens": "many"}),
    ("gemini", ["contents", 0, "role"], "assistant"),
    ("mistral", ["max_completion_tokens"], 5),
    ("mistral", ["messages", 0, "name"], "x"),
    ("mistral", ["messages", 0, "content"], 5),
    ("cohere_v2", ["top_p"], 0.5),
    ("cohere_v2", ["messages", 0, "role"], "judge"),
    ("cohere_v2", ["tools"], [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}]),
    ("bedrock", ["messages", 0, "content", 0, "txt"], "x"),
    ("bedrock", ["messages", 0, "content", 0], {"text": ""}),
    ("bedrock", ["messages", 0, "content", 0], {"image": {"format": "bmp", "source": {"bytes": "AA=="}}}),
    ("bedrock", ["inferenceConfig"], {"maxTokens": "5"}),
    ("bedrock", ["inferenceConfig"], {"max_tokens": 5}),
]


def received(path: str, body: dict) -> Received:
    return Received(path, {"anthropic-version": "2023-06-01"}, body)


@pytest.mark.parametrize("judge", PLAIN)
def test_takes_what_is_right(judge):
    getattr(request_types, judge)(received(*PLAIN[judge]))


@pytest.mark.parametrize(("judge", "at", "value"), WRONG, ids=lambda one: str(one))
def test_refuses_what_is_wrong(judge, at, value):
    path, body = copy.deepcopy(PLAIN[judge])
    place = body
    for step in at[:-1]:
        place = place[step]
    place[at[-1]] = value
    with pytest.raises((AssertionError, ValueError)):
        getattr(request_types, judge)(received(path, body))


def test_refuses_another_path():
    for judge, (_, body) in PLAIN.items():
        with pytest.raises((AssertionError, KeyError)):
            getattr(request_types, judge)(received("/elsewhere/of", body))
