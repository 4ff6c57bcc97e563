"""Callbacks as the browser calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dash import Dash

Press = Callable[..., dict[str, Any]]


def _place(name: str) -> dict[str, str]:
    component, _, prop = name.rpartition(".")
    return {"id": component, "property": prop}


def called(app: Dash, trigger: str, values: dict[str, Any], to: str = "") -> dict[str, Any]:
    """What the browser gets from a callback of the server's.

    Args:
        app: the application.
        trigger: what changed, as id.property.
        values: by id.property, of inputs and states; None for those left out.
        to: part of the name of its outputs, where several callbacks have the trigger.

    Returns:
        By id, the properties that change; empty where nothing does.
    """
    output, known = next(
        (name, one)
        for name, one in app.callback_map.items()
        if _place(trigger) in one["inputs"] and to in name and "callback" in one
    )
    outputs = [_place(name) for name in output.strip(".").split("...")]

    def filled(kind: str) -> list[dict[str, Any]]:
        return [{**one, "value": values.get(f"{one['id']}.{one['property']}")} for one in known[kind]]

    body = {
        "output": output,
        "outputs": outputs if output.startswith("..") else outputs[0],
        "inputs": filled("inputs"),
        "state": filled("state"),
        "changedPropIds": [trigger],
    }
    sent = app.server.test_client().post("/_dash-update-component", json=body)
    assert sent.status_code in (200, 204), sent.text
    return dict(json.loads(sent.text)["response"]) if sent.status_code == 200 else {}


@pytest.fixture(scope="session")
def press() -> Press:
    return called


@pytest.fixture
def run_alone(run_path: Path, tmp_path: Path) -> Path:
    """The run in a folder of its own, beside which nothing is kept yet."""
    alone = tmp_path / "run"
    alone.mkdir()
    for part in run_path.iterdir():
        (alone / part.name).symlink_to(part)
    return alone
