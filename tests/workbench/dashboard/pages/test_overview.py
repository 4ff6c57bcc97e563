"""The front page of runs with hundreds of labels, and of labels that look like something else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from datasets import Dataset
from plotly.utils import PlotlyJSONEncoder

from workbench import open_run
from workbench.analysis import analyze_run
from workbench.dashboard import grid
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.links import key_link, label_file, label_link
from workbench.dashboard.pages import read_address
from workbench.export import export_run
from workbench.report.expert import label_use
from workbench.report.palette import MOST_COLOURED

GOLDEN = Path(__file__).parents[3] / "golden"
ODD = [
    "10",
    "2",
    "1",
    " lua",
    "lua",
    "<b>x</b>",
    "..",
    ".",
    "a/b",
    "50%",
    "a\nb",
    "e\u0301",
    "é",
    "generalist",
    "l" * 500,
]


def _export(folder: Path, labels: list[str], each: int) -> Context:
    rng = np.random.default_rng(2)
    rows = [{"input_ids": rng.integers(2, 128, each).clip(3).tolist(), "label": label} for label in labels]
    Dataset.from_list(rows).to_parquet(str(folder / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", folder / "corpus.parquet", folder / "run")
    return Context(open_run(folder / "run"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """300 labels of one short document."""
    return _export(tmp_path_factory.mktemp("many"), [f"label {n}" for n in range(300)], 4)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """An analysed run of labels that look like numbers, markup, paths, or each other."""
    ctx = _export(tmp_path_factory.mktemp("odd"), [label for label in ODD for _ in range(3)], 12)
    analyze_run(ctx.run, min_tokens=1)
    return ctx


def test_front_page_of_hundreds_of_labels_is_light(many: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    size = many.run.num_keys
    monkeypatch.setattr(Context, "codes", lambda *_: np.resize(np.arange(-1, 300), (size, size)))
    sent = json.dumps(draw(many, read_address("/", "")).content, cls=PlotlyJSONEncoder)
    assert len(sent) < 100_000
    assert sent.count("label 123") <= 3  # the names of the map and a row of the grid with its link


def test_legend_of_hundreds_of_labels_lists_the_coloured_and_the_others(
    many: Context, page: Callable[[Context, str], str]
) -> None:
    shown = page(many, "/")
    assert shown.count("'className': 'legend-entry in-place'") == MOST_COLOURED
    assert shown.count("'className': 'legend-entry'") == 1
    assert "other labels (288)" in shown
    chosen = page(many, "/?label=label+299")
    assert chosen.count("'className': 'legend-entry in-place chosen'") == 1
    assert "other labels (287)" in chosen


def test_key_of_hundreds_of_labels_lists_those_of_highest_rate(
    many: Context, page: Callable[[Context, str], str]
) -> None:
    shown = page(many, key_link(0, 1, 1))
    assert "The other 280 labels have" in shown
    assert shown.count("/labels/") <= 20 + 20  # of the key, and of its experts


def test_grid_of_labels_is_complete_and_in_natural_order(many: Context) -> None:
    rows = json.loads(json.dumps(draw(many, read_address("/", "")).content, cls=PlotlyJSONEncoder))
    found = [part for part in _grids(rows) if part["id"] == "labels-grid"]
    assert [row["label"] for row in found[0]["rowData"]][:3] == ["label 0", "label 1", "label 2"]
    assert len(found[0]["rowData"]) == 300


def _grids(part: object) -> list[dict[str, object]]:
    if isinstance(part, list):
        return [found for child in part for found in _grids(child)]
    if not isinstance(part, dict):
        return []
    own = [part["props"]] if part.get("type") == "AgGrid" else []
    return own + [found for child in part.values() for found in _grids(child)]


@pytest.mark.parametrize("label", ODD)
def test_page_of_an_odd_label_is_reached_by_link_and_by_address(odd: Context, label: str) -> None:
    app = create_app(odd.run)
    assert app.server.test_client().get(label_link(label)).status_code == 200
    assert app.server.test_client().get(f"/?{urlencode({'label': label})}").status_code == 200


def test_odd_labels_are_listed_in_natural_order_and_told_apart(
    odd: Context, page: Callable[[Context, str], str]
) -> None:
    assert [label for label in odd.labels if label.isdigit()] == ["1", "2", "10"]
    assert "'·lua'" in page(odd, "/")
    assert "e\\\\u0301" in page(odd, label_link("e\u0301"))
    _, choice, figures = page(odd, "/mask").partition("unlearn-effect")
    assert choice
    assert "<b>x" not in figures  # whose text Plotly would read as markup


def test_rows_of_a_label_called_generalist_are_told_from_generalists(odd: Context) -> None:
    rows, _ = grid.select(odd.listed(0), {"startRow": 0, "endRow": 100})
    assert {"(generalist)", "generalist"} <= set(rows["specialised"].cat.categories)


def test_labels_that_look_alike_are_named_on_the_front_page_and_their_own(odd: Context) -> None:
    front = json.dumps(draw(odd, read_address("/", "")).content, cls=PlotlyJSONEncoder, ensure_ascii=False)
    assert all(name in front for name in ("“·lua”", "“e\\\\u0301”"))
    for label, alike in (("lua", True), ("1", False)):
        page = draw(odd, read_address(label_link(label), "")).content
        assert ("Labels that look alike" in json.dumps(page, cls=PlotlyJSONEncoder)) is alike


@pytest.mark.parametrize("label", ODD)
def test_every_label_has_its_reports(odd: Context, label: str) -> None:
    client = create_app(odd.run).server.test_client()
    for kind in ("html", "csv"):
        answer = client.get(label_file(label, kind))
        assert answer.status_code == 200
        assert len(answer.headers["Content-Disposition"]) < 400


def test_expert_page_of_hundreds_of_labels_is_light_and_lists_all(many: Context) -> None:
    best = many.ranking(0)[0]
    page = draw(many, read_address(f"/expert/0/{best}", "")).content
    sent = json.dumps(page, cls=PlotlyJSONEncoder)
    assert len(sent) < 120_000
    assert "The other 280 labels" in sent
    use = label_use(many.run, many.run.expert(0, int(best)))
    assert all(f"{label} " in sent or f'"{label}"' in sent for label in use.loc[use["tokens"] > 0, "label"])
