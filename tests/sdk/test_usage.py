"""What was used: each token once, in either protocol's words, and the same in the receipt."""

import talk
from talk import assistant, user

TURNS = [user("Who are you?"), assistant("A demo."), user("Count to 5")]
LONG = "gate " * 3000


def test_every_pair_counts_the_same(openai_client, anthropic_client, stream):
    seen = set()
    for provider in talk.PROVIDERS:
        usage = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=TURNS).usage
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
        seen.add((usage.prompt_tokens, usage.completion_tokens))
        usage = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=TURNS).usage
        seen.add((usage.input_tokens, usage.output_tokens))
    assert len(seen) == 1
    assert min(seen.pop()) > 0


def test_cached_tokens_count_once(openai_client, anthropic_client, provider, stream):
    """OpenAI's prompt counts hold what was cached, Anthropic's stand beside it."""
    system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    usage = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=TURNS, system=system).usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    messages = [{"role": "system", "content": LONG}, *TURNS]
    other = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=messages).usage
    assert cached > 0
    assert usage.input_tokens + cached == other.prompt_tokens
    assert usage.input_tokens < 1024


def usage_chunks(client, provider, **options) -> list:
    chunks = list(client.chat.completions.create(model=f"{provider}/demo", messages=TURNS, stream=True, **options))
    assert chunks[-1].choices or chunks[-1].usage
    return [chunk for chunk in chunks if chunk.usage]


def test_stream_usage_only_where_asked(openai_client, provider):
    assert usage_chunks(openai_client, provider) == []
    assert usage_chunks(openai_client, provider, stream_options={"include_usage": False}) == []
    (only,) = usage_chunks(openai_client, provider, stream_options={"include_usage": True})
    assert only.choices == [] and only.usage.prompt_tokens > 0


def test_receipt_has_it_all_the_same(openai_client, demo, key, provider):
    """The gateway knows what was used though the client did not want to."""
    raw = openai_client.chat.completions.with_raw_response.create(model=f"{provider}/demo", messages=TURNS, stream=True)
    chunks = list(raw.parse())
    assert all(chunk.usage is None for chunk in chunks)
    receipt = demo.receipt(raw.headers["x-portcullis-request-id"], key)
    whole = openai_client.chat.completions.create(model=f"{provider}/demo", messages=TURNS).usage
    used = receipt["usage"]
    assert (used["input"], used["output"], used["estimated"]) == (whole.prompt_tokens, whole.completion_tokens, False)
    assert receipt["cost"]["total_nano"] > 0


def test_a_client_that_leaves_pays_for_what_was_said(openai_client, demo, key, provider):
    raw = openai_client.chat.completions.with_raw_response.create(
        model=f"{provider}/demo-long-500", messages=TURNS, stream=True
    )
    stream = raw.parse()
    said = ""
    for chunk in stream:
        said += "".join(choice.delta.content or "" for choice in chunk.choices)
        if len(said) > 40:
            break
    stream.close()
    receipt = demo.receipt(raw.headers["x-portcullis-request-id"], key)
    assert receipt["outcome"]["code"] == "client-gone"
    assert receipt["usage"]["estimated"]
    assert 5 <= receipt["usage"]["output"] < 500
    assert receipt["attempts"][0]["ended"] == "settled"


def test_logprobs_and_several_answers(openai_client, stream):
    """What only the provider's own protocol has passes untouched."""
    answer = talk.openai(openai_client, stream, model="demo/demo", messages=TURNS, n=2, logprobs=True)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.message.content for choice in answer.choices)
