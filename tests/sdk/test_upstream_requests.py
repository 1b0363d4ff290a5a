"""What reaches each provider of what clients of four protocols ask: every word of it, and valid by the provider's own types."""

import functools
import json

import pytest

import asks
import gateway
import raw
import request_types
from upstream import Received, Recorder

# Those that speak Chat Completions, with OpenAI's types for theirs.
COMPATIBLE = {
    "azure": "gpt-5.1",
    "cerebras": "gpt-oss-120b",
    "deepseek": "deepseek-chat",
    "groq": "openai/gpt-oss-120b",
    "openai-compatible": "any",
    "openrouter": "openai/gpt-5.1",
    "perplexity": "sonar-pro",
    "together": "openai/gpt-oss-120b",
    "xai": "grok-4",
}
# Members of theirs that OpenAI has not (<https://api-docs.deepseek.com/guides/thinking_mode>,
# <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>, <https://docs.perplexity.ai/api-reference/chat-completions-post>,
# <https://docs.together.ai/reference/chat-completions-1>, <https://openrouter.ai/docs/api-reference/parameters>).
OWN = {
    "deepseek": {"thinking"},
    "openai-compatible": {"top_k"},
    "openrouter": {"reasoning", "top_k", "messages/reasoning_details"},
    "perplexity": {"top_k"},
    "together": {"top_k"},
}
# The plugin, a model of its catalogue, and what reads its requests.
PROVIDERS = {
    "openai": ("gpt-5.1", request_types.openai),
    # Which OpenAI has at its Responses endpoint alone.
    "responses": ("gpt-5-pro", request_types.responses),
    "anthropic": ("claude-sonnet-4-5", request_types.anthropic),
    "anthropic-vertex": ("claude-sonnet-4-6", request_types.claude_on_vertex),
    "gemini": ("gemini-2.5-flash", request_types.gemini),
    "vertex": ("gemini-2.5-flash", request_types.gemini),
    "mistral": ("mistral-medium-latest", request_types.mistral),
    "cohere": ("command-a-03-2025", request_types.cohere_v2),
    "bedrock": ("anthropic.claude-sonnet-4-5-20250929-v1:0", request_types.bedrock),
    "nova": ("amazon.nova-pro-v1:0", request_types.bedrock),
    **{
        name: (model, functools.partial(request_types.openai, more=OWN.get(name, frozenset()))) for name, model in COMPATIBLE.items()
    },
}
PLUGINS = {"nova": "bedrock", "responses": "openai", "vertex": "gemini"}
PROJECT = "/v1/projects/p/locations/global"
BASES = {"vertex": f"{PROJECT}/publishers/google", "anthropic-vertex": f"{PROJECT}/publishers/anthropic"}
CASES = [(protocol, name) for protocol, all_of_it in asks.ALL.items() for name in all_of_it]


@pytest.fixture(scope="module")
def recorder():
    recorder = Recorder()
    yield recorder
    recorder.stop()


@pytest.fixture(scope="module")
def recording(recorder, folder):
    """A gateway to it, and a key."""
    text = "[routing]\nattempts = 1\nbreaker_failures = 1000000\n[pricing]\nunknown = \"alarm\"\n"
    for provider in PROVIDERS:
        plugin = PLUGINS.get(provider, provider)
        if is_there(plugin):
            base = f"{recorder.address}/{provider}{BASES.get(provider, '')}"
            text += f'[providers.{provider}]\nplugin = "{plugin}"\nbase_url = "{base}"\nmodels = ["*"]\n'
    plugins = folder / "recording-plugins"
    plugins.mkdir()
    for plugin in {PLUGINS.get(provider, provider) for provider in PROVIDERS}:
        if is_there(plugin):
            (plugins / f"{plugin}.wasm").write_bytes((gateway.PLUGINS / f"{plugin}.wasm").read_bytes())
    running = gateway.serve(folder / "recording", text, plugins)
    yield running, running.key()["key"]
    running.process.stop()


def is_there(plugin: str) -> bool:
    return (gateway.PLUGINS / f"{plugin}.wasm").is_file()


@pytest.mark.parametrize(("protocol", "name"), CASES, ids=[f"{protocol}-{name}" for protocol, name in CASES])
def test_requests_are_what_applications_may_write(protocol, name):
    path, body = asks.request(protocol, name, "any")
    getattr(request_types, protocol)(Received(path, {"anthropic-version": "2023-06-01"}, body))


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(("protocol", "name"), CASES, ids=[f"{protocol}-{name}" for protocol, name in CASES])
def test_is_valid_where_it_arrives(recorder, recording, provider, protocol, name):
    if not is_there(PLUGINS.get(provider, provider)):
        pytest.skip(f"there is no {PLUGINS.get(provider, provider)}.wasm")
    running, key = recording
    model, read = PROVIDERS[provider]
    path, body = asks.request(protocol, name, f"{provider}/{model}")
    headers = {"authorization": f"Bearer {key}", "anthropic-version": "2023-06-01" if protocol == "anthropic" else None}
    recorder.received.clear()
    answer = raw.ask(running.address, "POST", path, json.dumps(body).encode(), headers)
    assert answer.status == 400, answer.body
    if name in asks.MEDIA and not recorder.received:
        # A question about something that nobody can hear is not asked without it.
        told = answer.body.decode()
        assert name in told and ("Anthropic" in told or "Responses" in told), told
        return
    received = recorder.take()
    read(received)
    asked, arrived = leaves(body), "\n".join(leaves(received.body))
    assert [word for word in asks.WORDS if word in asked and word not in arrived] == []
    if any(word in asked and word not in arrived for word in asks.OFFERED):
        notes = running.receipt(answer.headers["x-portcullis-request-id"], key)["notes"]
        assert any(note["subject"].startswith(("tool", "messages.")) for note in notes), notes



def leaves(value) -> list[str]:
    """All strings of a document."""
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in leaves(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [value] if isinstance(value, str) else []
