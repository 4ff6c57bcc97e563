"""Who may ask the dashboard, and how it is sent."""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from workbench import open_run
from workbench.dashboard.access import LARGEST_REQUEST, Access
from workbench.dashboard.application import create_app
from workbench.dashboard.serve import serve
from workbench.errors import BadInputError


@pytest.fixture(scope="module")
def asked(run_path: Path) -> Any:
    return create_app(open_run(run_path), access=Access("geheim ß", loopback=True)).server.test_client()


def _basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(text.encode()).decode()}


@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/assets/dashboard.js", "/download/label.csv?label=lua"])
def test_nothing_is_answered_without_the_password(asked: Any, path: str) -> None:
    refused = asked.get(path)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    for wrong in ("anyone:", "anyone:geheim", "geheim ß:"):
        assert asked.get(path, headers=_basic(wrong)).status_code == 401
    assert asked.get(path, headers=_basic("anyone:geheim ß")).status_code == 200


def test_password_as_a_bearer_token(run_path: Path) -> None:
    client = create_app(open_run(run_path), access=Access("secret")).server.test_client()
    assert client.get("/", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert client.get("/", headers={"Authorization": "Bearer other"}).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8050", 401),
        ("127.0.0.1", 401),
        ("[::1]:8050", 401),
        ("evil.example", 403),
        ("127.0.0.1.evil.de", 403),
    ],
)
def test_on_this_machine_only_its_own_names_are_answered(asked: Any, host: str, status: int) -> None:
    assert asked.get("/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize("accepted", ["br", "deflate"])
def test_scripts_are_compressed(run_path: Path, accepted: str) -> None:
    client = create_app(open_run(run_path)).server.test_client()
    whole, small = (client.get("/assets/dashboard.js", headers={"Accept-Encoding": a}) for a in ("identity", accepted))
    assert small.headers["Content-Encoding"] == accepted
    assert len(small.data) < len(whole.data) / 2


def test_request_too_large_is_refused(run_path: Path) -> None:
    client = create_app(open_run(run_path)).server.test_client()
    sent = b'{"output": "' + b"x" * LARGEST_REQUEST + b'"}'
    assert client.post("/_dash-update-component", data=sent, content_type="application/json").status_code == 413


def test_serve_without_processes_says_so(run_path: Path) -> None:
    with pytest.raises(BadInputError, match="0 processes cannot serve"):
        serve(run_path, processes=0)


@pytest.mark.parametrize(("password", "warned"), [("", True), ("secret", False)])
def test_serve_says_loudly_that_others_can_read(
    run_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], password: str, warned: bool
) -> None:
    monkeypatch.setattr("workbench.dashboard.serve._listen", lambda *_: None)
    serve(run_path, "0.0.0.0", 48_050, password=password)
    assert ("everyone who can reach 0.0.0.0:48050" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("passed_on", ["/monet", ""], ids=["kept by the proxy", "taken off by the proxy"])
def test_below_a_path_every_address_has_it(run_path: Path, passed_on: str) -> None:
    run = open_run(run_path)
    client = create_app(run, access=Access(base_path="/monet")).server.test_client()
    shell = client.get(f"{passed_on}/glossary")
    assert shell.status_code == 200
    assert '"/monet/_dash-component-suites/' in shell.text
    layout = client.get(f"{passed_on}/_dash-layout").text
    assert '"href":"/monet/prompt"' in layout.replace(r"\u002f", "/").replace(" ", "")
    path = f"/monet/expert/0/{run.experts(0)['mass'].idxmax()}"
    asked = {
        "output": "..page.children...title.data...error.children...drawn.data..",
        "outputs": [
            {"id": i, "property": p}
            for i, p in (("page", "children"), ("title", "data"), ("error", "children"), ("drawn", "data"))
        ],
        "inputs": [{"id": "asked", "property": "data", "value": {"pathname": path, "search": "", "again": False}}],
        "state": [{"id": "drawn", "property": "data"}],
        "changedPropIds": ["asked.data"],
    }
    later = client.post(f"{passed_on}/_dash-update-component", json=asked).text
    first = client.get(path.replace("/monet", passed_on)).text
    for page in (text.replace(r"\u002f", "/") for text in (later, first)):
        assert "Expert 0:" in page
        links = re.findall(r'"(?:href|src)": ?"(/[^"]*)"', page)
        assert len(links) > 20
        assert {link for link in links if not link.startswith("/monet/")} == set()
    assert client.get(f"{passed_on}/monet-is-no-page").status_code == 404


@pytest.mark.parametrize("path", ["/a b", "/<script>", "http://x/", "a/../b?"])
def test_a_base_path_that_is_none_is_refused(run_path: Path, path: str) -> None:
    with pytest.raises(BadInputError, match="no path to serve below"):
        serve(run_path, base_path=path)
