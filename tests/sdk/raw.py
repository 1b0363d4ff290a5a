"""Requests as no SDK would send them."""

import dataclasses
import http.client
import json
import urllib.parse


@dataclasses.dataclass
class Answer:
    status: int
    headers: dict
    body: bytes

    def json(self):
        return json.loads(self.body)


def ask(address: str, method: str, path: str, body: bytes | None = None, headers: dict | None = None) -> Answer:
    """`headers` replace those of a JSON request; one that is `None` is left out."""
    place = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    try:
        all_headers = {"content-type": "application/json", **(headers or {})}
        connection.request(method, path, body, {name: value for name, value in all_headers.items() if value is not None})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()
