"""The card of an expert says what its page says, as JSON."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from flask.testing import FlaskClient

from workbench import Run, open_run
from workbench.dashboard.application import create_app
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.report.label import top_tokens
from workbench.store.token_text import visible


@pytest.fixture(scope="module")
def run(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = open_run(shutil.copytree(run_path, tmp_path_factory.mktemp("cards") / "run"))
    row = {name: np.nan if pa.types.is_floating(SCHEMA.field(name).type) else 0 for name in SCHEMA.names}
    expert = int(run.experts(0)["mass"].idxmax())
    row |= {"group": 0, "expert": expert, "author": "Ada", "judge": ""}
    texts = {"rule": "Fires at `x`.", "person": "<b>bold</b> \u202eand hidden"}
    write_explanations(run, pd.DataFrame([row | {"kind": kind, "text": text} for kind, text in texts.items()]))
    return run


@pytest.fixture(scope="module")
def client(run: Run) -> FlaskClient:
    client: FlaskClient = create_app(run).server.test_client()
    return client


def test_card_has_label_tokens_and_explanation(run: Run, client: FlaskClient) -> None:
    expert = int(run.experts(0)["mass"].idxmax())
    told = client.get(f"/card/0/{expert}").get_json()
    assert told["expert"] == f"0:{expert}"
    assert told["tokens"] == [visible(text) for text in top_tokens(run, 0, expert, 6)]
    assert told["explanation"] == "<b>bold</b> \\u202eand hidden"  # a person's comes first
    assert told["label"] in [*run.labels, "generalist"]
    assert told["colour"].startswith("#")


def test_card_of_no_expert_is_refused(client: FlaskClient) -> None:
    assert client.get("/card/9/1").status_code == 404
    assert client.get("/card/a/b").status_code == 400
