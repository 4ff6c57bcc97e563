"""What the API says of a run is what the packages say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from workbench import Run, open_run
from workbench.analysis import read_analysis
from workbench.client import COLUMNS, ApiError, Client
from workbench.dashboard.application import create_app
from workbench.dashboard.context import Context
from workbench.explain import logit_view, read_explanations
from workbench.explain.stored import SCHEMA, write_explanations
from workbench.report.expert import examples, label_use
from workbench.search import documents_matching, experts_firing_on


@pytest.fixture
def strongest(run: Run) -> int:
    return int(run.experts(0)["mass"].idxmax())


def test_the_run(run: Run, client: Client) -> None:
    told = client.run()
    assert told.groups == run.groups
    assert (told.keys, told.experts) == (run.num_keys, run.num_keys**2)
    assert told.labels == run.label_tokens.to_dict()
    assert (told.tokens, told.documents) == (run.tokens_total, len(run.documents))
    assert told.settings == run.manifest["settings"]
    assert told.analysed
    assert "mask.json" in told.analyses


def test_pages_of_experts_are_the_sorted_table_cut(run: Run, client: Client) -> None:
    table = run.experts(0).join(read_analysis(run, 0)[["specialised", "ratio"]])
    ordered = table.reset_index().sort_values(["mass", "expert"], ascending=[False, True])
    first, second = (client.experts(0, sort="mass", offset=at, limit=7) for at in (0, 7))
    together = pd.concat([first, second])
    assert together["expert"].tolist() == ordered["expert"].tolist()[:14]
    np.testing.assert_allclose(together["mass"], ordered["mass"][:14])
    assert together["label"].tolist() == ordered["specialised"].astype(str).tolist()[:14]
    assert first.attrs["total"] == len(table)
    rising = client.experts(0, sort="expert", order="asc", limit=5)
    assert rising["expert"].tolist() == sorted(table.index)[:5]


def test_experts_are_filtered(run: Run, client: Client) -> None:
    label = read_analysis(run, 0)["specialised"].value_counts().drop("", errors="ignore").index[0]
    table = run.experts(0).join(read_analysis(run, 0)[["specialised", "confirmed"]])
    wanted = table[(table["specialised"] == label) & (table["tokens"] >= 5) & (table["max"] >= 0.001)]
    found = client.experts(0, label=label, min_tokens=5, min_max=0.001, limit=1000)
    assert len(wanted) > 0
    assert found.attrs["total"] == len(wanted)
    assert set(found["expert"]) <= set(wanted.index)
    unlabelled = client.experts(0, label="", limit=1)
    assert unlabelled.attrs["total"] == int((table["specialised"] == "").sum())
    assert client.experts(0, confirmed=True).attrs["total"] == int(table["confirmed"].sum())
    few = client.experts(0, max_tokens=1, limit=1)
    assert few.attrs["total"] == int((table["tokens"] <= 1).sum())


def test_what_lacks_a_number_comes_last_whichever_way(
    run: Run, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Context(run).experts(0).copy()
    table["ratio"] = [np.nan if expert % 3 else float(expert) for expert in table.index]
    monkeypatch.setattr(Context, "experts", lambda *_: table)
    for order in ("asc", "desc"):
        ratios = client.experts(0, sort="ratio", order=order, limit=1000)["ratio"]
        known = ratios.notna().to_numpy()
        assert 0 < known.sum() < len(known) == len(table)
        assert known[: known.sum()].all()
        assert ratios[known].is_monotonic_increasing if order == "asc" else ratios[known].is_monotonic_decreasing
    assert client.experts(0, min_ratio=0).attrs["total"] == int(table["ratio"].notna().sum())


def test_one_expert(run: Run, client: Client, strongest: int) -> None:
    told, row = client.expert(0, strongest, logits=3), run.expert(0, strongest)
    derived = read_analysis(run, 0).loc[strongest]
    assert (told.tokens, told.mass, told.max) == (row["tokens"], row["mass"], row["max"])
    assert (told.label, told.confirmed) == (derived["specialised"], bool(derived["confirmed"]))
    assert told.scores["monosemanticity"] == pytest.approx(derived["monosemanticity"])
    pd.testing.assert_frame_equal(told.labels, label_use(run, row), check_dtype=False)
    assert told.histogram["count"].sum() == row["tokens"]
    from workbench.analysis.run_model import load_run_model

    view = logit_view(run, load_run_model(run), 0, strongest, 3)
    assert told.promoted["token"].tolist() + told.suppressed["token"].tolist() == view["token"].tolist()
    assert client.expert(0, strongest).promoted.empty


def test_an_expert_that_is_never_active(short_run: Path) -> None:
    run = open_run(short_run)
    active = set(run.experts(0).index)
    asleep = next(expert for expert in range(run.num_keys**2) if expert not in active)
    with Client("http://localhost", transport=httpx.WSGITransport(create_app(run).server)) as client:
        told = client.expert(0, asleep)
        assert (told.tokens, told.mean, told.label, told.scores) == (0, None, "", {})
        assert client.examples(0, asleep).empty
        assert client.activations(0, asleep).columns.tolist() == COLUMNS["ActivationRow"].split()
        assert client.document(0).text is None


def test_explanations_of_an_expert(run: Run, client: Client, strongest: int) -> None:
    rows = {name: [np.nan] for name in SCHEMA.names} | {"judge": [""], "active": [0], "negatives": [0]}
    rows |= {"group": [0], "expert": [strongest], "kind": ["person"], "author": ["Ada"], "text": ["<b>loops</b>"]}
    folder = run.analysis_path("")
    if folder.is_symlink():  # what is written here stays here
        files = list(folder.resolve().iterdir())
        folder.unlink()
        folder.mkdir()
        for file in files:
            (folder / file.name).symlink_to(file)
    write_explanations(run, pd.DataFrame(rows))
    assert client.expert(0, strongest).explanations["text"].tolist() == ["<b>loops</b>"]
    assert client.expert(0, strongest).explanations["detection"].isna().all()
    found = client.search("LOOPS", "explanations")
    assert found["expert"].tolist() == read_explanations(run)["expert"].tolist()


def test_examples_and_activations(run: Run, client: Client, strongest: int) -> None:
    from workbench.store.address import Expert

    kept = examples(run, Expert(0, strongest), 5)
    told = client.examples(0, strongest, n=5)
    assert told["texts"].tolist() == [one.texts for one in kept]
    assert told["score"].tolist() == [one.score for one in kept]
    every = run.activations(0, strongest)
    label = str(every["label"].iloc[0])
    some = every[(every["label"] == label) & (every["score"] >= every["score"].median())]
    page = client.activations(0, strongest, offset=1, limit=3, label=label, min_score=float(every["score"].median()))
    assert page.attrs["total"] == len(some)
    assert page["row"].tolist() == some["row"].tolist()[1:4]
    assert page["token_text"].tolist() == run.row_text(page["row"].to_numpy())


def test_activations_are_filtered_by_document_source_and_score(run: Run, client: Client, strongest: int) -> None:
    every = run.activations(0, strongest)
    middle, doc = float(every["score"].median()), int(every["doc"].iloc[-1])
    sources = run.documents["source"].to_numpy()[every["doc"]].astype(str)
    filters: list[tuple[dict[str, Any], Any]] = [
        ({"doc": doc}, every["doc"] == doc),
        ({"source": "LUA/"}, np.char.startswith(sources, "lua/")),
        ({"source": ".*"}, np.zeros(len(every), bool)),
        ({"max_score": middle}, every["score"] <= middle),
        ({"doc": doc, "min_score": middle, "max_score": middle}, (every["doc"] == doc) & (every["score"] == middle)),
    ]
    for asked, expected in filters:
        found = client.activations(0, strongest, limit=1000, **asked)
        assert found["row"].tolist() == every.loc[expected, "row"].tolist()[:1000], asked
        assert found.attrs["total"] == np.count_nonzero(expected)
    assert 0 < np.count_nonzero(filters[1][1]) < len(every)
    with pytest.raises(ApiError) as error:
        client.activations(0, strongest, doc=len(run.documents))
    assert error.value.status == 404


def test_searches(run: Run, client: Client) -> None:
    found = client.search("print", "documents", limit=2)
    known = documents_matching(run, "print", limit=2)
    assert found.attrs["total"] == known.total
    assert found["doc"].tolist() == known.hits["doc"].tolist()
    assert client.search("/pr.nt/", "documents").attrs["total"] == known.total
    firing = experts_firing_on(run, "p", 0, 4)
    told = client.search("p", "firing", group=0, limit=4)
    assert told["expert"].tolist() == firing["expert"].tolist()
    np.testing.assert_allclose(told["f1"], firing["f1"])
    assert len(client.search("print", "text", limit=3)) == 3
    whole = client.search("print", "text", limit=1000)
    assert whole["sum"].is_monotonic_decreasing
    for by in ("max", "frequency"):
        assert client.search("print", "text", by=by, limit=1000)[by].is_monotonic_decreasing
    rare = client.search("print", "text", density=float(whole["density"].median()), limit=1000)
    assert 0 < len(rare) < len(whole)
    assert rare["density"].max() <= whole["density"].median()
    for kind in ("firing", "text", "documents", "explanations"):
        every = client.search("p", kind, limit=6)
        paged = [client.search("p", kind, offset=offset, limit=2) for offset in (0, 2, 4)]
        pd.testing.assert_frame_equal(pd.concat(paged, ignore_index=True), every, check_dtype=False)
        assert client.search("p", kind, offset=2**40).empty
    with pytest.raises(ApiError, match="kind documents"):
        client.search("print", "firing", label="lua")
    with pytest.raises(ApiError, match="kind text"):
        client.search("print", "firing", by="max")
    for density in (0, 1.5):
        with pytest.raises(ApiError, match="density"):
            client.search("print", "text", density=density)


def test_a_document(run: Run, client: Client, strongest: int) -> None:
    active = run.activations(0, strongest)
    doc = int(active["doc"].iloc[0])
    told = client.document(doc, expert=(0, strongest), limit=1000)
    assert told.text == run.text(doc)
    assert told.label == run.documents["label"].iloc[doc]
    assert told.total == len(told.tokens)
    assert "".join(told.tokens["text"]) == told.text
    here = active[active["doc"] == doc].set_index("row")["score"]
    np.testing.assert_allclose(
        told.tokens.set_index("row")["score"], here.reindex(told.tokens["row"], fill_value=0).to_numpy()
    )
    page = client.document(doc, offset=2, limit=3)
    assert page.tokens["row"].tolist() == told.tokens["row"].tolist()[2:5]
    assert page.tokens["score"].isna().all()
    assert client.document(doc, offset=10**9).tokens.empty


def test_columns_of_the_client_are_the_schemas_of_the_server(http: Any) -> None:
    schemas = http.get("/api/v1/openapi.json").json["components"]["schemas"]
    for name, columns in COLUMNS.items():
        assert columns.split() == list(schemas[name]["required"]), name
