"""LlamaIndex as a client, before providers of three protocols: it speaks Chat Completions to any address (`OpenAILike`)."""

import asyncio
import base64

import openai
import pydantic
import pytest
from llama_index.core.llms import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai_like import OpenAILike

import gateway

PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    running, key = gateway.demo(tmp_path_factory.mktemp("portcullis") / "demo")
    yield running, key
    running.process.stop()


@pytest.fixture(params=["demo", "demo-anthropic", "demo-gemini"])
def llm(demo, request):
    running, key = demo
    return OpenAILike(
        model=f"{request.param}/demo",
        api_base=running.openai_url,
        api_key=key,
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        max_retries=0,
        timeout=30,
    )


def user(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, content=text)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request) -> bool:
    return request.param


def ask(llm, stream: bool, messages: list[ChatMessage]):
    """The answer, or the last of a stream, which gathers all of it."""
    return list(llm.stream_chat(messages))[-1] if stream else llm.chat(messages)


def test_chat(llm):
    answer = llm.chat([ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), user("Count to 5")])
    assert answer.message.content == "1, 2, 3, 4, 5"
    assert answer.raw.usage.completion_tokens == 9


def test_stream(llm):
    pieces = [piece.delta or "" for piece in llm.stream_chat([user("Count to 5")])]
    assert "".join(pieces) == "1, 2, 3, 4, 5" and len(pieces) > 5


def test_async(llm):
    async def both():
        whole = await llm.achat([user("Count to 5")])
        pieces = [piece.delta or "" async for piece in await llm.astream_chat([user("Count to 5")])]
        return whole.message.content, "".join(pieces)

    assert asyncio.run(both()) == ("1, 2, 3, 4, 5", "1, 2, 3, 4, 5")


def test_complete(llm):
    assert llm.complete("Count to 2").text == "1, 2"
    assert "".join(piece.delta or "" for piece in llm.stream_complete("Count to 2")) == "1, 2"


def test_an_image(llm, stream):
    blocks = [TextBlock(text="What is this?"), ImageBlock(image=base64.b64decode(PICTURE), image_mimetype="image/png")]
    answer = ask(llm, stream, [ChatMessage(role=MessageRole.USER, blocks=blocks)])
    assert "I received one image." in answer.message.content


def weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


def clock(zone: str) -> str:
    """The time in a zone."""
    return f"noon in {zone}"


def test_tools_and_their_results(llm, stream):
    tools = [FunctionTool.from_defaults(weather), FunctionTool.from_defaults(clock)]
    messages = [user("Please call the tools, both of them.")]

    def with_tools(history):
        if stream:
            return list(llm.stream_chat_with_tools(tools, chat_history=history, allow_parallel_tool_calls=True))[-1]
        return llm.chat_with_tools(tools, chat_history=history, allow_parallel_tool_calls=True)

    answer = with_tools(messages)
    calls = llm.get_tool_calls_from_response(answer)
    assert [(call.tool_name, call.tool_kwargs) for call in calls] == [
        ("weather", {"city": "demo city"}),
        ("clock", {"zone": "demo zone"}),
    ]
    results = [
        ChatMessage(
            role=MessageRole.TOOL,
            content=tool(**call.tool_kwargs).content,
            additional_kwargs={"tool_call_id": call.tool_id},
        )
        for tool, call in zip(tools, calls, strict=True)
    ]
    last = with_tools([*messages, answer.message, *results])
    assert last.message.content == "The tool answered: rain in demo city\nThe tool answered: noon in demo zone"


class Gate(pydantic.BaseModel):
    open: bool
    keeper: str


def test_structured_output(llm, stream):
    answer = ask(llm.as_structured_llm(Gate), stream, [user("Open?")])
    assert answer.raw == Gate(open=True, keeper="demo keeper")


def test_errors_have_their_classes(llm):
    failing = llm.model_copy(update={"model": llm.model.replace("/demo", "/demo-error-429")})
    with pytest.raises(openai.RateLimitError):
        failing.chat([user("Hello")])


def test_embeddings(demo):
    running, key = demo
    embedding = OpenAIEmbedding(model_name="demo/text-embedding-3-small", api_base=running.openai_url, api_key=key, max_retries=0)
    one, two = embedding.get_text_embedding_batch(["one", "two"])
    assert len(one) == len(two) == 8 and one != two
