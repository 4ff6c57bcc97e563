"""Cards: a page that loads and runs nothing, and says which sites may show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import open_run
from workbench.dashboard.application import create_app
from workbench.dashboard.embed import check_hosts, embed_code
from workbench.dashboard.links import expert_card_link
from workbench.errors import BadInputError
from workbench.store.address import Expert


def test_card_shows_the_expert_and_loads_nothing(run_path: Path) -> None:
    run = open_run(run_path)
    expert = int(run.experts(0)["mass"].idxmax())
    answer = create_app(run).server.test_client().get(expert_card_link(0, expert))
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    assert f'href="/expert/0/{expert}"' in answer.text
    assert answer.text.count('<span class="token top"') == 5
    for absent in ("<script", "<link", "<img", "src=", "javascript:"):
        assert absent not in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("frame-ancestors 'self'")


def test_hosts_may_show_cards_and_nothing_else(run_path: Path) -> None:
    hosts = ["notes.example.org", "https://*.example.org:8443"]
    client = create_app(open_run(run_path), embed_hosts=hosts).server.test_client()
    card = client.get(expert_card_link(0, 17)).headers["Content-Security-Policy"]
    assert card.endswith("frame-ancestors 'self' notes.example.org https://*.example.org:8443")
    page = client.get("/lists").headers["Content-Security-Policy"]
    assert page.endswith("frame-ancestors 'self'")


@pytest.mark.parametrize(("group", "expert", "status"), [(9, 1, 404), (0, 999999, 404), (0, "x", 400)])
def test_card_of_nothing_has_status_and_sentence(run_path: Path, group: int, expert: int | str, status: int) -> None:
    answer = create_app(open_run(run_path)).server.test_client().get(f"/embed/expert/{group}/{expert}")
    assert answer.status_code == status
    assert answer.mimetype == "text/plain"


@pytest.mark.parametrize(
    "host", ["", "a b", "x; script-src *", "*", "'none'", "a,b", "javascript:alert(1)", "a\nb", "a\n"]
)
def test_what_is_no_site_is_refused(host: str) -> None:
    with pytest.raises(BadInputError, match="names no site"):
        check_hosts([host])


@pytest.mark.parametrize("host", ["lab.example.org", 'x"><script>alert(1)</script>'])
def test_embed_code_has_the_address_of_the_server_and_no_more(run_path: Path, host: str) -> None:
    server = create_app(open_run(run_path)).server
    with server.test_request_context(headers={"Host": host}):
        code = embed_code(Expert(0, 17))
    assert ("http://lab.example.org/embed/expert/0/17" in code) == (host == "lab.example.org")
    assert "/embed/expert/0/17" in code
    assert "<script" not in code
    assert code.count('"') == 10
