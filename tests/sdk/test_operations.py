"""Operations besides chat by the official SDK: passed through, so that what comes is what its types say."""

import openai
import pytest
from openai.types import CreateEmbeddingResponse, FileObject, ModerationCreateResponse
from openai.types.audio import Transcription

EMAIL = "ada@example.org"


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_embeddings(openai_client, encoding):
    raw = openai_client.embeddings.with_raw_response.create(
        model="demo/text-embedding-3-small", input=["one", "two"], encoding_format=encoding
    )
    told = raw.parse()
    if encoding == "float":
        CreateEmbeddingResponse.model_validate_json(raw.content, strict=True)
    assert [one.index for one in told.data] == [0, 1] and told.usage.prompt_tokens == 2
    assert raw.headers["x-portcullis-provider"] == "demo"


def test_embeddings_agree_however_they_are_written(openai_client):
    """The SDK asks for base64 by itself, which no guard may take for text."""
    plain = openai_client.embeddings.create(model="demo/e", input=EMAIL, encoding_format="float").data[0].embedding
    default = openai_client.embeddings.create(model="demo/e", input=EMAIL).data[0].embedding
    assert plain == pytest.approx(default, abs=1e-6) and len(plain) == 8


def test_moderations(openai_client):
    raw = openai_client.moderations.with_raw_response.create(model="demo/omni-moderation-latest", input="violence")
    ModerationCreateResponse.model_validate_json(raw.content, strict=True)
    assert raw.parse().results[0].categories.violence


def test_speech(openai_client):
    sound = openai_client.audio.speech.create(model="demo/tts-1", voice="alloy", input="hello")
    assert sound.content[:4] == b"RIFF" and len(sound.content) == 44 + 5 * 400


def test_a_transcription_is_guarded(openai_client):
    raw = openai_client.audio.transcriptions.with_raw_response.create(
        model="demo/whisper-1", file=("a.wav", b"RIFF\xff\x00"), prompt=f"from {EMAIL}"
    )
    Transcription.model_validate_json(raw.content, strict=True)
    assert raw.parse().text == "A recording of 6 bytes. The prompt was: from [EMAIL]"


def test_a_transcription_streams(openai_client):
    events = list(
        openai_client.audio.transcriptions.create(model="demo/t", file=("a.wav", b"abc"), prompt="end", stream=True)
    )
    text = "".join(event.delta for event in events if event.type == "transcript.text.delta")
    assert events[-1].type == "transcript.text.done" and events[-1].text == text == "A recording of 3 bytes. The prompt was: end"


def test_a_transcription_as_text(openai_client):
    text = openai_client.audio.transcriptions.create(model="demo/t", file=("a.wav", b"abc"), response_format="text")
    assert text == "A recording of 3 bytes."


def test_files_are_closed_unless_opened(openai_client):
    with pytest.raises(openai.NotFoundError):
        openai_client.files.list()


def test_files(lab, demo):
    running = lab("open-files", "\n[providers.shared]\nplugin = \"openai\"\nshared_objects = true\n" + base_url(demo))
    client = openai.OpenAI(base_url=running.openai_url, api_key=running.key()["key"], max_retries=0, timeout=30)
    raw = client.files.with_raw_response.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    FileObject.model_validate_json(raw.content, strict=True)
    identity = raw.parse().id
    assert identity in [file.id for file in client.files.list()]
    assert client.files.retrieve(identity).bytes == 3
    assert client.files.content(identity).content == b"{}\n"
    assert client.files.delete(identity).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(identity)


def base_url(demo) -> str:
    """The line of the demo's own connection."""
    return next(line for line in demo.config.read_text().splitlines() if line.startswith("base_url") and "/v1" in line) + "\n"
