"""The stores that are compared hold the same activations, and give the same answers."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

from workbench.bench import beside
from workbench.errors import WorkbenchError
from workbench.store import open_run


def test_cut_run_keeps_the_first_documents(small_run, tmp_path) -> None:
    run = open_run(small_run)
    run.manifest["tokenizer"] = {"hash": {}}
    cut = beside.cut_run(run, tmp_path / "cut", 1, 170)  # four whole documents of 40 tokens
    assert cut.tokens_total == 160
    assert cut.tokenizer() is None  # whatever the run has: the activations need none
    for expert in run.experts(1).index[::20]:
        whole = run.activations(1, int(expert))
        pd.testing.assert_frame_equal(cut.activations(1, int(expert)), whole[whole["row"] < 160])


def test_every_store_gives_the_same_activations(small_run, tmp_path) -> None:
    run = open_run(small_run)
    context, opened = run.manifest["settings"]["context"], run.documents["bos"].notna().cumsum().to_numpy()
    stores = beside.make_stores(run, tmp_path, 0)
    assert (stores.tokens, stores.pairs) == (run.tokens_total, run.experts(0)["tokens"].sum())
    with duckdb.connect() as connection:
        activations = beside._activations(stores, connection)
        best = beside._best(stores, connection)
        top = {name: ask(0) for name, ask in beside._top(stores, connection).items()}
        for expert in run.experts(0).index[::25].tolist():
            found = {name: ask(expert) for name, ask in activations.items()}
            expected = found.pop("ours")
            expected = expected.assign(score=expected["score"].astype(np.float16).astype(np.float32))
            locations, values = found.pop("delphi")
            for table in found.values():
                assert table["token"].tolist() == expected["row"].tolist()
                assert table["score"].astype(np.float32).tolist() == expected["score"].tolist()
            kept = expected[expected["score"] > 1e-5]
            place = locations @ np.array([context, 1, 0])  # documents are back to back, opened by start-of-text tokens
            assert place.tolist() == (kept["row"].to_numpy() + opened[kept["doc"]]).tolist()
            assert values.astype(np.float32).tolist() == kept["score"].tolist()
            highest = {name: float(_scores(ask(expert)).max()) for name, ask in best.items()}
            assert highest == pytest.approx(dict.fromkeys(highest, highest["ours"]), rel=2e-3)
    for name in ("duckdb", "pandas"):
        mass = top[name]["mass" if name == "duckdb" else "sum"].to_numpy()
        np.testing.assert_allclose(mass, top["ours"]["mass"], rtol=2e-3)
    assert 5 < len(top["delphi"]) <= len(top["ours"])  # its counts leave out the least scores
    assert set(top["delphi"].tolist()) <= set(top["ours"].index)


def _scores(answer: object) -> np.ndarray:
    column = answer[1] if isinstance(answer, tuple) else answer["score"].to_numpy()  # type: ignore[index]
    return np.asarray(column, np.float32)


def test_the_comparison_counts_each_store_s_bytes(small_run, tmp_path) -> None:
    result = beside.bench_beside(open_run(small_run), tmp_path)
    files = {
        "ours": [*tmp_path.glob("run/routing/*"), *tmp_path.glob("run/index/*")],
        "table": [tmp_path / "table.parquet"],
        "delphi": list(tmp_path.glob("model.layers.0.router/*.safetensors")),
    }
    assert result["bytes"] == {name: sum(file.stat().st_size for file in of) for name, of in files.items()}
    assert result["bytes_ratio"]["ours"] == 1
    for query, ratios in result["ratio"].items():
        assert set(ratios) == {"ours", "duckdb", "pandas", "delphi"}
        for name, ratio in ratios.items():
            assert ratio == pytest.approx(result["ms"][query][name] / result["ms"][query]["ours"])


def test_a_run_that_keeps_some_routing_is_not_compared(small_run, tmp_path, monkeypatch) -> None:
    run = open_run(small_run)
    run.documents["kept"] = [True] * 5 + [False]
    with pytest.raises(WorkbenchError, match="holds the routing of all its tokens"):
        beside.make_stores(run, tmp_path, 0)
