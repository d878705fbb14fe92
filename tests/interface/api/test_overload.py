"""A server that is full refuses before it reads, and knows of the requests that are still on their way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lamina.kit.errors import QueueFullError
from lamina.testing import EchoService

ASK = {"messages": [{"role": "user", "content": "word " * 20}]}


class Narrow(EchoService):
    """Lets two requests in at once."""

    def __init__(self) -> None:
        super().__init__(delay=0.01)
        self.told: list[int] = []

    def check_room(self, key: str, active: int) -> None:
        self.told.append(active)
        if active >= 2:
            error = QueueFullError("full", hint="ask again")
            error.retry_after = 1.5
            raise error


def test_who_has_no_room_is_refused_unread_and_the_others_are_answered(serve, eventually) -> None:
    api = serve(service=Narrow())
    with api.http() as client, ThreadPoolExecutor(2) as pool:
        inside = [pool.submit(client.post, "/v1/chat/completions", json=ASK) for _ in range(2)]
        assert eventually(lambda: api.service.running == 2)
        for path in ("/v1/chat/completions", "/v1/completions"):
            refused = client.post(path, content=b"this is not JSON", headers={"content-type": "application/json"})
            assert refused.status_code == 429
            assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("2", "1500")
            assert refused.json()["error"]["type"] == "rate_limit_exceeded"
        assert client.get("/v1/models").status_code == 200  # what does not wait for the model is answered
        assert client.post("/v1/feedback", json={"target": "x", "kind": "boolean"}).status_code == 404
        assert [answer.result().status_code for answer in inside] == [200, 200]
        assert client.post("/v1/chat/completions", json=ASK).status_code == 200
    assert max(api.service.told) == 2


def test_places_are_given_back_however_a_request_ends(serve, eventually) -> None:
    api = serve(service=Narrow())
    with api.http() as client:
        assert client.post("/v1/chat/completions", json={"messages": []}).status_code == 400
        assert client.post("/v1/chat/completions", json=ASK | {"stream": True}).status_code == 200
        with client.stream("POST", "/v1/chat/completions", json=ASK | {"stream": True}) as answer:
            next(answer.iter_lines())
        assert eventually(lambda: api.service.running == 0)
        for _ in range(3):
            assert client.post("/v1/chat/completions", json=ASK).status_code == 200
    assert api.service.told[-3:] == [0, 0, 0] or max(api.service.told) < 2
