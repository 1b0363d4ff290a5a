"""A provider that keeps what it is sent, and refuses all of it unless told otherwise: what a gateway sends does not depend on an
answer."""

import dataclasses
import http.server
import json
import threading
import urllib.parse


@dataclasses.dataclass
class Received:
    # Without the base that the connection was configured with.
    path: str
    headers: dict
    body: dict


def refuse(_: Received) -> tuple[int, dict]:
    error = {"message": "kept", "type": "invalid_request_error", "code": 400}
    return 400, {"error": error, "message": "kept"}


class Recorder:
    def __init__(self, answer=refuse):
        recorder = self
        self.received: list[Received] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(urllib.parse.unquote(self.path), headers, json.loads(body))
                recorder.received.append(received)
                status, document = answer(received)
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self) -> Received:
        """The one request since the last."""
        assert len(self.received) == 1, f"{len(self.received)} requests arrived"
        return self.received.pop()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
