"""The protocols of clients: how one asks, what its official SDK makes of an answer, and in which words it is told of an end."""

import dataclasses
import json

from . import said, sdk
from .said import Said
from .wire import responses


@dataclasses.dataclass(frozen=True)
class Client:
    name: str
    path: str
    # What each end is called here; what is not named keeps its word.
    ends: dict

    def request(self, model: str, stream: bool, decoded: bool) -> str:
        """What comes back depends on the model's name alone. `decoded` asks for what only the gateway itself knows, so that
        the provider's plugin encodes the request, and chooses the endpoint, though there is one of the client's protocol."""
        if self.name == "responses":
            request = {"model": model, "input": "Say it again."}
        else:
            request = {"model": model, "messages": [{"role": "user", "content": "Say it again."}], "max_tokens": 4096}
        if decoded:
            request["system"] = "You repeat."
        if stream:
            request["stream"] = True
            if self.name == "openai":
                request["stream_options"] = {"include_usage": True}
        return json.dumps(request)

    def readings(self, body: bytes, stream: bool, recorded: bool) -> list[Said]:
        """What stands in the bytes, and what the SDK gathered of them, each document checked. `recorded` bytes are a
        provider's own, and may be older than the SDK."""
        match self.name:
            case "openai":
                gathered = said.openai_whole(sdk.read_openai(body, stream))[0]
                return [said.openai(body, stream)[0], gathered]
            case "anthropic":
                gathered = said.anthropic_whole(sdk.read_anthropic(body, stream, False, recorded))
                return [said.anthropic(body, stream), gathered]
            case _:
                gathered = responses.of(sdk.read_responses(body, stream, recorded))
                return [responses.read(body, stream), gathered]

    def calls(self, wanted: Said) -> list:
        """Name and arguments; Anthropic's are objects, so that free text is a member of one."""
        wrap = self.name == "anthropic"
        return [
            (name, {"input": arguments} if wrap and isinstance(arguments, str) else arguments)
            for _, name, arguments in wanted.calls
        ]

    def end(self, wanted: Said) -> str:
        if self.name == "responses":
            ended = wanted.finish not in ("stop", "stop_sequence", "tool_calls")
            return self.ends.get(wanted.finish, wanted.finish) if ended else "tool_calls" if wanted.calls else "stop"
        if self.name == "anthropic" and wanted.finish == "stop":
            # Chat Completions says `stop` after a call that was forced and after a refusal; Anthropic tells them apart.
            return "tool_use" if wanted.calls else "refusal" if wanted.refused else "end_turn"
        return self.ends.get(wanted.finish, wanted.finish)

    def error(self, body: bytes) -> str:
        """The message of an error, be it the answer or the stream's last event."""
        documents = said.events(body) or [json.loads(body)]
        told = [one for one in documents if one.get("error") or one.get("type") in ("error", "response.failed")]
        assert told, body[-2000:]
        error = told[-1].get("error") or (told[-1].get("response") or {}).get("error") or told[-1]
        return error["message"]


CLIENTS = [
    Client("openai", "/v1/chat/completions", {"stop_sequence": "stop", "pause": "stop"}),
    Client(
        "anthropic",
        "/v1/messages",
        {
            "length": "max_tokens",
            "tool_calls": "tool_use",
            "content_filter": "refusal",
            "pause": "pause_turn",
        },
    ),
    Client("responses", "/v1/responses", {"pause": "stop"}),
]
