"""The stack's own routes, and the web page."""

from __future__ import annotations

from pathlib import Path

from lamina.interface.api.gui import GuiRoutes
from lamina.interface.api.ports import ApiSettings


def test_settings_tell_the_page_what_it_needs(serve, ring) -> None:
    api = serve(keys=ring, settings=ApiSettings(name="pequod", examples=("Who is Ahab?",)))
    told = api.http().get("/v1/settings").json()
    assert (told["name"], told["examples"], told["keys"]) == ("pequod", ["Who is Ahab?"], False)
    assert told["grounding"] == "weights + documents"
    ring.create("a", ["infer"])
    assert api.http().get("/v1/settings").json()["keys"] is True


def test_releases_are_listed_promoted_and_rolled_back(serve) -> None:
    api = serve()
    with api.http() as client:
        listed = client.get("/v1/releases").json()
        assert listed["aliases"] == {"champion": "v1"}
        assert [v["id"] for v in listed["versions"]] == ["v1", "v2"]
        after = client.post("/v1/releases/v2/promote", json={"because": "it is better"})
        assert after.json()["aliases"] == {"champion": "v2"}
        assert api.releases.reasons == ["it is better"]
        assert client.post("/v1/releases/v9/promote", json={"because": "x"}).status_code == 404
        assert client.post("/v1/releases/v1/promote", json={}).json()["error"]["param"] == "because"
        back = client.post("/v1/releases/rollback", json={"because": "it is worse"})
        assert back.json()["aliases"] == {"champion": "v1"}


def test_jobs(serve) -> None:
    with serve().http() as client:
        started = client.post("/v1/jobs", json={"kind": "improve"})
        assert started.status_code == 202
        assert client.get(f"/v1/jobs/{started.json()['id']}").json()["state"] == "done"
        assert client.get("/v1/jobs/nothing").status_code == 404
        assert client.post("/v1/jobs", json={"kind": "format-disk"}).status_code == 400


def test_traces(api) -> None:
    trace = api.http().get("/v1/trace/chatcmpl-1").json()
    assert trace["id"] == "chatcmpl-1"
    assert [link["kind"] for link in trace["links"]] == ["answer", "version"]


def test_documents_that_are_not(api) -> None:
    assert api.http().get("/v1/documents/nothing").status_code == 404


def test_the_page_or_how_to_build_it(serve, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("lamina.interface.api.app.GuiRoutes", lambda: GuiRoutes(tmp_path / "static"))
    api = serve()
    assert "make web" in api.http().get("/").text
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html><p>page</p>")
    (static / "assets" / "main-0A1B2C3D.js").write_text("1")
    (static / ".secret").write_text("no")
    (tmp_path / "outside.txt").write_text("no")
    with api.http() as client:
        assert client.get("/").text.endswith("page</p>")
        script = client.get("/assets/main-0A1B2C3D.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        for path in (
            "/.secret",
            "/..%2foutside.txt",
            "/%2e%2e/outside.txt",
            "/assets",
            "/%00",
            "/a" * 300,
            "/" + "a" * 300,
        ):
            assert client.get(path).status_code == 404, path


def test_unknown_paths_are_404_in_the_envelope(api) -> None:
    assert api.http().get("/v1/unknown").json()["error"]["code"] == "not_found"
