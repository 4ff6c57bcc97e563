"""A page may ask the API of its own server."""

from __future__ import annotations

from typing import Any

ASK = """async ([address, note]) => {
    const sent = {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(note)};
    const answer = await fetch(address, note ? sent : {});
    return [answer.status, await answer.json()];
}"""


def test_a_page_asks_its_own_server(page: Any, address: str) -> None:
    page.goto(address)
    status, run = page.evaluate(ASK, [f"{address}/api/v1/run", None])
    assert (status, run["analysed"]) == (200, True)
    status, answer = page.evaluate(ASK, [f"{address}/api/v1/edits", {"edit": "0:1=0"}])  # with an Origin, its own
    assert (status, answer["removed"]) == (200, 1)
