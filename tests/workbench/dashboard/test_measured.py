"""Pages of what was measured beside the statistics: explanations, structure and map, scores, curve, neighbours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from workbench import open_run
from workbench.analysis import analyze_structure, label_overlap, read_structure
from workbench.analysis.removal.curve_result import RemovalCurve, write_curve
from workbench.analysis.structure.umap_result import ExpertMap
from workbench.dashboard.application import draw
from workbench.dashboard.context import Context
from workbench.dashboard.links import explanations_link, read_address
from workbench.dashboard.pages.expert import _logits
from workbench.explain import logit_view
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.store.files import write_json, write_parquet

HOSTILE = "fires on <script>window.hacked = 1</script>"


@pytest.fixture(scope="module")
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
    write_curve(run, RemovalCurve(run.labels, "ratio", 0.02, pd.DataFrame(points), documents, 1, 0))
    return Context(run)


def _text(page: Any) -> str:
    return str([part.to_plotly_json() if hasattr(part, "to_plotly_json") else part for part in page])


def _page(ctx: Context, link: str) -> str:
    path, _, query = link.partition("?")
    return _text(draw(ctx, read_address(path, query)))


def test_explanations_are_listed_and_searched(ctx: Context) -> None:
    assert HOSTILE in _page(ctx, explanations_link())
    assert "1 of 1 explanations hold “SCRIPT”" in _page(ctx, explanations_link("SCRIPT"))
    assert "0 of 1 explanations hold “zebra”" in _page(ctx, explanations_link("zebra"))


def test_expert_page_holds_explanation_and_neighbours(ctx: Context) -> None:
    expert = int(ctx.run.experts(0)["mass"].idxmax())
    page = _page(ctx, f"/expert/0/{expert}")
    assert HOSTILE in page
    assert "Ada (person)" in page
    for other in ctx.run.neighbours(0, expert, 10)["expert"]:
        assert f"/expert/0/{other}" in page
    unexplained = int(ctx.run.experts(0)["mass"].idxmin())
    assert f"--expert 0:{unexplained}" in _page(ctx, f"/expert/0/{unexplained}")


def test_tokens_of_every_range_of_scores(ctx: Context) -> None:
    expert = int(ctx.run.experts(0)["mass"].idxmax())
    page = _page(ctx, f"/expert/0/{expert}?show=ranges")
    for row in ctx.run.quantile_examples(0, expert).itertuples():
        assert f"{row.low:.2g} to {row.high:.2g}: {row.count:,} tokens" in page
        assert f"document {row.doc}, token {row.position}" in page


def test_what_an_expert_writes_is_its_logit_view(ctx: Context) -> None:
    expert = int(ctx.run.experts(0)["mass"].idxmax())
    shown = str(_logits(ctx, 0, expert).to_plotly_json())
    view = logit_view(ctx.run, ctx.model(), 0, expert, 10)
    for row in (view.iloc[0], view.iloc[-1]):
        assert f"{row['logit']:+.3f}" in shown


def test_structure_page_has_the_figures(ctx: Context) -> None:
    page, found = _page(ctx, "/structure?group=1"), read_structure(ctx.run)
    assert found is not None
    for row in found.lattice.itertuples():
        assert f"{row.explained:.3f}" in page
    assert "20 most active experts of group 1" in page


def test_masking_page_has_curve_and_shared_mass(ctx: Context) -> None:
    page = _page(ctx, "/mask")
    assert "own loss rises by +0.250 nats" in page  # halfway to the point
    shared = label_overlap(ctx.run).shared.to_numpy()
    assert "Experts that labels share" in page
    assert shared.min() < 1


def test_pages_without_results_name_their_commands(run_path: Path) -> None:
    bare = Context(open_run(run_path))
    for link, command in (
        ("/structure", "monet map"),
        ("/structure", "monet structure"),
        ("/explanations", "monet explain"),
        ("/scores", "monet scores"),
        ("/mask", "monet curve"),
    ):
        assert f"{command} {run_path}" in _page(bare, link)
