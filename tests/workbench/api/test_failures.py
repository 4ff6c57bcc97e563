"""What the API refuses: one shape, with the status of the kind of error."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from workbench import errors, open_run
from workbench.client import ApiError, Client
from workbench.dashboard.access import LARGEST_REQUEST, Access
from workbench.dashboard.application import create_app
from workbench.dashboard.context import Context

API = "/api/v1"


def refused(answer: Any, status: int, kind: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/json"
    assert set(answer.json) == {"error"}
    assert set(answer.json["error"]) == {"kind", "message"}
    assert answer.json["error"]["kind"] == kind
    return str(answer.json["error"]["message"])


@pytest.mark.parametrize("error", errors.KINDS)
def test_every_kind_of_error_has_its_status(http: Any, monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    def fail(*_: Any) -> None:
        raise error("because")

    monkeypatch.setattr(Context, "experts", fail)
    kind = {"WorkbenchError": "workbench"}.get(error.__name__)
    answer = http.get(f"{API}/experts")
    assert refused(answer, errors.KINDS[error].status, kind or answer.json["error"]["kind"]) == "because"
    page = error.__name__.removesuffix("Error")
    assert answer.json["error"]["kind"].replace("-", "") == page.lower()


def test_an_unexpected_error_goes_to_the_log(
    http: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret path")

    monkeypatch.setattr(Context, "experts", fail)
    with caplog.at_level(logging.ERROR):
        said = refused(http.get(f"{API}/experts"), 500, "unexpected")
    assert "secret path" not in said
    assert "secret path" in caplog.text


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("/experts?limit=1001", "limit"),
        ("/experts?limit=x", "limit"),
        ("/experts?offset=-1", "offset"),
        ("/experts?sort=colour", "sort"),
        ("/experts?colour=red", "colour"),
        ("/experts?min_max=nan", "min_max"),
        ("/experts/0/x", "expert"),
        ("/search", "q"),
        (f"/search?q={'a' * 1001}", "q"),
        ("/documents/0?expert=hello", "'hello' names no expert"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(http: Any, address: str, field: str) -> None:
    assert field in refused(http.get(API + address), 400, "bad-input")


@pytest.mark.parametrize(
    "address",
    [
        "/experts?group=9",
        "/experts/0/999999999",
        "/documents/999999999",
        "/experts?label=cobol",
        "/nope",
        "/experts/1",
        "/lists/experts?name=none",
    ],
)
def test_what_does_not_exist_is_not_found(http: Any, address: str) -> None:
    refused(http.get(API + address), 404, "not-found")


def test_unknown_addresses_under_api_are_no_pages(http: Any) -> None:
    for path in ("/api/", "/api/v2/run", "/api/v1/"):
        refused(http.get(path), 404, "not-found")
        refused(http.post(path, json={}), 404, "not-found")
    assert http.get("/").mimetype == "text/html"


def test_another_method_is_refused_with_those_allowed(http: Any) -> None:
    answer = http.delete(f"{API}/run")
    refused(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET"
    answer = http.get(f"{API}/prompt")
    refused(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "POST"
    refused(http.put(f"{API}/notes", json={}), 405, "method-not-allowed")


def test_only_json_of_this_site_changes_anything(http: Any) -> None:
    note = {"group": 0, "expert": 1, "text": "planted"}
    refused(http.post(f"{API}/notes", data=note), 415, "not-json")
    refused(http.post(f"{API}/notes", data="{}", content_type="text/plain"), 415, "not-json")
    for origin in ("http://evil.example", "null", "http://localhost:1"):
        refused(http.post(f"{API}/notes", json=note, headers={"Origin": origin}), 403, "other-site")
        refused(http.delete(f"{API}/notes/1", headers={"Origin": origin}), 403, "other-site")
        refused(http.patch(f"{API}/notes/1", json=note, headers={"Origin": origin}), 403, "other-site")
    refused(http.patch(f"{API}/notes/1", data="{}", content_type="text/plain"), 415, "not-json")
    refused(http.patch(f"{API}/notes/1", json=[]), 400, "bad-input")
    assert http.get(f"{API}/notes").json["notes"] == []
    made = http.post(f"{API}/notes", json=note, headers={"Origin": "http://localhost"})
    assert made.status_code == 201
    assert http.delete(f"{API}/notes/{made.json['id']}", headers={"Origin": "http://localhost"}).status_code == 204


def test_bodies_that_are_no_request(http: Any) -> None:
    for body in ("", "{", "[]", "null", '"{\\"edit\\": \\"0:1\\"}"', "1"):
        refused(http.post(f"{API}/edits", data=body, content_type="application/json"), 400, "bad-input")
    assert "edit" in refused(http.post(f"{API}/edits", json={"edit": 5}), 400, "bad-input")
    assert "more" in refused(http.post(f"{API}/edits", json={"edit": "0:1", "more": 1}), 400, "bad-input")
    assert "text" in refused(
        http.post(f"{API}/prompt", data='{"text": "\\ud800"}', content_type="application/json"), 400, "bad-input"
    )
    large = "a" * (LARGEST_REQUEST + 1)
    refused(http.post(f"{API}/edits", data=large, content_type="application/json"), 413, "too-large")


def test_before_an_analysis(bare_run_path: Path) -> None:
    server = create_app(open_run(bare_run_path)).server
    with Client("http://localhost", transport=httpx.WSGITransport(server)) as client:
        assert not client.run().analysed
        row = client.experts(0, limit=1).iloc[0]
        assert (row["label"], row["confirmed"]) == ("", False)
        assert client.expert(0, int(row["expert"])).label == ""
        with pytest.raises(ApiError, match="monet analyze") as error:
            client.edit("label:lua=0")
    assert (error.value.status, error.value.kind) == (409, "not-analysed")


def test_the_password_is_asked_for(run_path: Path) -> None:
    server = create_app(open_run(run_path), access=Access("secret", loopback=True)).server
    transport = httpx.WSGITransport(server)
    assert Client("http://localhost", password="secret", transport=transport).run().groups
    for address, password, status in (("http://localhost", "", 401), ("http://evil.example", "secret", 403)):
        with pytest.raises(ApiError) as error:
            Client(address, password=password, transport=transport).run()
        assert error.value.status == status
    refused(server.test_client().get(f"{API}/run"), 401, "no-password")
    assert server.test_client().get("/").mimetype == "text/plain"
