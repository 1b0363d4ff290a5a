"""What the providers' own answers say, one reader a wire format. Each is `read(body, stream) -> Said`, of the first choice, with
`finish` in the words of Chat Completions (and `stop_sequence`, where that is told apart). They know nothing of the plugins."""

from . import anthropic, bedrock, cohere, compatible, gemini, ollama, responses

READERS = {
    "anthropic": anthropic.read,
    "bedrock": bedrock.read,
    "cohere": cohere.read,
    "compatible": compatible.read,
    "gemini": gemini.read,
    "ollama": ollama.read,
    "responses": responses.read,
}
