"""A run with a stored result of every analysis that a page shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from workbench import open_run
from workbench.analysis import analyze_structure
from workbench.analysis.removal.curve_result import RemovalCurve
from workbench.analysis.results import write_result
from workbench.analysis.structure.umap_map import ExpertMap
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.pages import read_address
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.store.files import write_json, write_parquet

HOSTILE = "fires on <script>window.hacked = 1</script>"


def show(ctx: Context, link: str) -> str:
    """Everything on the page of a link, as text."""
    path, _, query = link.partition("?")
    return str(draw(ctx, read_address(path, query)).content)


@pytest.fixture(scope="session")
def page() -> Callable[[Context, str], str]:
    return show


@pytest.fixture(scope="session")
def hostile() -> str:
    """The text of the one explanation."""
    return HOSTILE


@pytest.fixture(scope="session")
def ctx(run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A run with an explanation, a structure, a map and a curve."""
    path = tmp_path_factory.mktemp("measured") / "run"
    shutil.copytree(run_path, path)
    run = open_run(path)
    expert = int(run.experts(0)["mass"].idxmax())
    row = {name: np.nan if pa.types.is_floating(SCHEMA.field(name).type) else 0 for name in SCHEMA.names}
    row |= {"group": 0, "expert": expert, "kind": "person", "author": "Ada", "text": HOSTILE, "judge": ""}
    write_explanations(run, pd.DataFrame([row]))
    analyze_structure(run, permutations=2)
    ids = run.experts(0).index[:20].to_numpy()
    table = pd.DataFrame({"expert": ids, "x": np.arange(20.0), "y": np.arange(20.0) % 3})
    for group in run.groups:
        write_parquet(run.analysis_path(f"map-group-{group}.parquet"), pa.Table.from_pandas(table))
    summary = ExpertMap("residual", dict.fromkeys(run.groups, 20), dict.fromkeys(run.groups, 0.5), 0)
    write_json(run.analysis_path("map.json"), summary.to_json())
    points = [
        {"threshold": 2.0, "kind": kind, "label": label, "removed": 7, "target": 0.5, "others": others}
        for kind, others in (("chosen", 0.04), ("random", 0.05))
        for label in run.labels
    ]
    documents = pd.DataFrame({"doc": [0], "label": ["lua"], "tokens": [1], "loss": [1.0]})
    write_result(run, RemovalCurve(run.labels, "ratio", 0.02, pd.DataFrame(points), documents, 1, 0))
    return Context(run)
