"""Images by URL and by bytes, over all four pairs. The demo says how many it received."""

import pytest

import talk
from talk import user

URL = "https://example.com/gate.png"
OPENAI_IMAGES = {
    "url": {"type": "image_url", "image_url": {"url": URL}},
    "detail": {"type": "image_url", "image_url": {"url": URL, "detail": "low"}},
    "base64": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{talk.PICTURE}"}},
}
ANTHROPIC_IMAGES = {
    "url": {"type": "image", "source": {"type": "url", "url": URL}},
    "base64": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": talk.PICTURE}},
}


@pytest.mark.parametrize("kind", OPENAI_IMAGES)
def test_openai_image(openai_client, provider, stream, kind):
    parts = [{"type": "text", "text": "What is this?"}, OPENAI_IMAGES[kind]]
    answer = talk.openai(openai_client, stream, model=f"{provider}/demo", messages=[user(parts)])
    assert "What is this?" in answer.choices[0].message.content
    assert "I received one image." in answer.choices[0].message.content


@pytest.mark.parametrize("kind", ANTHROPIC_IMAGES)
def test_anthropic_image(anthropic_client, provider, stream, kind):
    parts = [ANTHROPIC_IMAGES[kind], {"type": "text", "text": "What is this?"}]
    answer = talk.anthropic(anthropic_client, stream, model=f"{provider}/demo", messages=[user(parts)])
    assert "What is this?" in talk.text_of(answer)
    assert "I received one image." in talk.text_of(answer)


def test_several(openai_client, anthropic_client, provider, stream):
    question, model = {"type": "text", "text": "?"}, f"{provider}/demo"
    turns = [user([*OPENAI_IMAGES.values(), question])]
    answer = talk.openai(openai_client, stream, model=model, messages=turns)
    assert "I received 3 images." in answer.choices[0].message.content
    turns = [user([*ANTHROPIC_IMAGES.values(), question])]
    message = talk.anthropic(anthropic_client, stream, model=model, messages=turns)
    assert "I received 2 images." in talk.text_of(message)
