"""What stands before every route: hosts, origins, keys, bodies, headers."""

from __future__ import annotations

import re
import socket
import time

import pytest
from fastapi import FastAPI

from lamina.interface.api.ports import SCOPES, ApiSettings, NoKeys
from lamina.interface.api.routes import Routes
from lamina.interface.api.security import CONTENT_SECURITY_POLICY, allowed_hosts
from lamina.interface.api.server import Protocol
from lamina.interface.keys import check_bind
from lamina.kit.errors import ConfigError, RefusedError

CHAT = {"messages": [{"role": "user", "content": "hi"}]}
PUBLIC = {"/health", "/health/live", "/health/ready", "/v1/settings", "/", "/{path:path}"}


def concrete(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path)


def test_every_route_but_the_public_ones_needs_a_key_and_its_scope(serve, ring) -> None:
    api = serve(keys=ring)
    tokens = {scope: ring.create(scope, [scope])[1] for scope in SCOPES}
    routes = list(api.app.state.routes)
    assert {r.path for r in routes if r.scope == "public"} == PUBLIC
    assert len(routes) > 15
    for route in routes:
        if route.scope == "public":
            continue
        body = {"json": {}} if route.method == "POST" else {}
        answer = api.http().request(route.method, concrete(route.path), **body)
        assert answer.status_code == 401, route
        assert answer.json()["error"]["code"] == "invalid_api_key"
        wrong = next(t for s, t in tokens.items() if s != route.scope)
        assert api.http(wrong).request(route.method, concrete(route.path), **body).status_code == 403, route
        right = api.http(tokens[route.scope]).request(route.method, concrete(route.path), **body)
        assert right.status_code not in (401, 403), route


@pytest.mark.parametrize("token", ["' OR 1=1--", "x" * 8000, "lsk_000000000000_" + "A" * 43, "lsk__", "é"])
def test_wrong_keys_all_get_the_same_answer(serve, ring, token: str) -> None:
    ring.create("someone", ["infer"])
    api = serve(keys=ring)
    answer = api.http().get("/v1/models", headers={"authorization": b"Bearer " + token.encode()})
    assert answer.status_code == 401
    assert answer.json() == {
        "error": {
            "message": "no valid API key (send it as 'Authorization: Bearer lsk_…')",
            "type": "authentication_error",
            "param": None,
            "code": "invalid_api_key",
        }
    }


def test_unknown_paths_tell_a_stranger_nothing(serve, ring) -> None:
    ring.create("someone", ["infer"])
    api = serve(keys=ring)
    assert api.http().post("/v1/secret", json={}).status_code == 401
    assert api.http().delete("/v1/models").status_code == 401
    assert api.http().get("/v1/secret").status_code == 404


def test_a_revoked_key_opens_nothing_and_the_door_stays_locked(serve, ring) -> None:
    key, token = ring.create("someone", ["infer"])
    api = serve(keys=ring)
    assert api.http(token).get("/v1/models").status_code == 200
    ring.revoke(key.id)
    assert api.http(token).get("/v1/models").status_code == 401
    assert api.http().get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("x/#", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
    ],
)
def test_only_our_own_hosts_are_served(api, host: str, status: int) -> None:
    assert api.http().get("/health/live", headers={"host": host}).status_code == status
    assert api.http().get("/", headers={"host": host}).status_code == status


def test_hosts_can_be_added() -> None:
    hosts = allowed_hosts(ApiSettings(host="0.0.0.0", hosts=("Models.Example",)))
    assert "models.example" in hosts
    assert "0.0.0.0" not in hosts
    assert "[fd00::1]" in allowed_hosts(ApiSettings(host="fd00::1"))


def test_beyond_this_machine_only_with_a_key(ring) -> None:
    check_bind("127.0.0.1", NoKeys())
    check_bind("::1", NoKeys())
    with pytest.raises(RefusedError, match="lamina keys create"):
        check_bind("0.0.0.0", ring)
    ring.create("someone", ["infer"])
    check_bind("0.0.0.0", ring)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://{host}"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_pages_of_other_origins_change_nothing(api, headers, status: int) -> None:
    host = api.url.removeprefix("http://")
    sent = {name: value.format(host=host) for name, value in headers.items()}
    before = len(api.store.interactions)
    assert api.http().post("/v1/chat/completions", json=CHAT, headers=sent).status_code == status
    assert len(api.store.interactions) - before == (status == 200)


def test_a_form_is_not_json(api) -> None:
    answer = api.http().post("/v1/chat/completions", content=b'{"messages":[]}', headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert answer.headers["connection"] == "close"


def test_bodies_have_a_limit(api) -> None:
    big = b'{"x":"' + b"a" * (1 << 20) + b'"}'
    headers = {"content-type": "application/json"}
    answer = api.http().post("/v1/chat/completions", content=big, headers=headers)
    assert answer.status_code == 413
    chunks = api.http().post("/v1/chat/completions", content=iter([big[: 1 << 19], big[1 << 19 :]]), headers=headers)
    assert chunks.status_code == 413
    packed = api.http().post("/v1/chat/completions", content=b"x", headers=headers | {"content-encoding": "gzip"})
    assert packed.status_code == 415


def test_a_body_has_a_deadline(serve) -> None:
    api = serve(settings=ApiSettings(body_deadline_s=0.2))
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", api.port)) as raw:
        raw.settimeout(5)
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        assert raw.recv(4096).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("first", [b"", b"GET / HT"])
def test_a_head_has_a_deadline(serve, monkeypatch, first: bytes) -> None:
    monkeypatch.setattr(Protocol, "head_deadline_s", 0.2)
    api = serve()
    with socket.create_connection(("127.0.0.1", api.port)) as raw:
        raw.settimeout(5)
        raw.sendall(first)
        assert raw.recv(4096).startswith(b"HTTP/1.1 408")
    with api.http() as client:  # an honest client that keeps its connection is not cut off
        for _ in range(3):
            assert client.get("/health/live").status_code == 200
            time.sleep(0.15)


def test_a_head_has_a_limit(api) -> None:
    with socket.create_connection(("127.0.0.1", api.port)) as raw:
        raw.settimeout(5)
        raw.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nx-long: " + b"a" * 40000)
        assert raw.recv(4096).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", ["/", "/v1/models", "/v1/nothing", "/health/live"])
def test_every_answer_has_the_security_headers(api, path: str) -> None:
    headers = api.http().get(path).headers
    policy = headers["content-security-policy"]
    assert policy == CONTENT_SECURITY_POLICY
    assert "'unsafe" not in policy
    assert "*" not in policy
    assert "trusted-types lamina dompurify" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    ("given", "echoed"), [("abc-1.2_X", True), ("a" * 65, False), ("a b", False), ("a/b", False), ("", False)]
)
def test_a_clients_request_id_is_only_echoed(api, given: str, echoed: bool) -> None:
    answer = api.http().post("/v1/chat/completions", json=CHAT, headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is echoed
    assert answer.headers.get_list("x-request-id") == [answer.headers["x-request-id"]]
    assert given not in answer.json()["id"] or not given


def test_a_route_without_a_scope_stops_the_start() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def endpoint() -> None: ...

    app.get("/open")(endpoint)
    with pytest.raises(ConfigError, match="/open declares no scope"):
        Routes(app).check()


def test_the_description_names_the_scopes(api) -> None:
    paths = api.http().get("/openapi.json").json()["paths"]
    assert paths["/v1/chat/completions"]["post"]["x-scope"] == "infer"
    body = paths["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert "target" in body["properties"]


def test_small_writes_do_not_wait_for_acknowledgements(serve, monkeypatch) -> None:
    opened = []
    original = Protocol.connection_made

    def noted(self: Protocol, transport) -> None:
        original(self, transport)
        opened.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(Protocol, "connection_made", noted)
    assert serve().http().get("/health/live").status_code == 200
    assert all(opened)
    assert opened
