"""`monet bench RUN`: the same activations kept in other stores, their bytes, and the time of the same queries.

Three stores of one group's activations at the first tokens of a run, as many as give ``MAX_PAIRS`` of them:

- ours: the routing of those tokens and its inverted index;
- a Parquet table of (token, expert, score), one row per active pair, queried with DuckDB and with pandas. It is sorted
  by expert, the best order for queries about one expert, and its scores are in half precision as ours are;
- Delphi's latent cache: triples and activations in safetensors (``workbench.interop.delphi``), read as its
  loader does: a file at a time.

On our side, top tokens and statistics come from tables of the whole run, which covers more tokens than the others do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import UnsupportedError
from ..extras import require
from ..interop import write_delphi
from ..store.index import IndexWriter
from ..store.pairs import expand
from ..store.routing import PARQUET, ROUTING, ROW_GROUP, to_arrow
from ..store.run import Run
from ..store.schema import DOCUMENTS, TOKENS, index_name, part_name, routing_name
from .clock import Clock

MAX_PAIRS = 20_000_000
PAIR_TOKENS = 256  # tokens whose pairs are held at once
TABLE_ROWS = 122_880  # per row group, DuckDB's own default
EXPERTS, BUSIEST = 30, 5  # queried: random active ones, and the busiest
BEST, LIMIT, MIN_TOKENS = 32, 50, 100


@dataclass(frozen=True)
class Stores:
    """Where each store is, and how much it holds."""

    whole: Run
    cut: Run
    group: int
    table: Path
    delphi: Path
    tokens: int
    pairs: int

    def bytes(self) -> dict[str, int]:
        """Return the bytes of each store; ours without the table of tokens."""
        ours = [self.cut.path / name(0, self.group) for name in (routing_name, index_name)]
        return {
            "ours": sum(file.stat().st_size for file in ours),
            "table": self.table.stat().st_size,
            "delphi": sum(file.stat().st_size for file in self.delphi.glob("*.safetensors")),
        }


def bench_beside(run: Run, folder: Path, group: int = 0, seed: int = 0) -> dict[str, Any]:
    """Write the three stores into ``folder`` and run the same queries on each.

    Returns:
        - tokens, pairs: tokens and active pairs that the stores hold.
        - bytes, bytes_ratio: by store, in total and relative to ours.
        - ms, cpu_ms: median wall and CPU milliseconds, by query and store.
        - ratio: of the wall time to ours, by query and store.

    Raises:
        UnsupportedError: DuckDB is not installed, or the run does not hold the routing of all its tokens.
    """
    duckdb = require("duckdb", "bench", "DuckDB")
    stores = make_stores(run, folder, group)
    rng = np.random.default_rng(seed)
    table = pq.read_table(stores.table, columns=["expert"])["expert"].to_numpy()
    seen, counts = np.unique(table, return_counts=True)
    asked = [*rng.choice(seen, min(EXPERTS, len(seen)), replace=False), *seen[np.argsort(-counts)[:BUSIEST]]]
    with duckdb.connect() as connection:
        queries = {
            name: {store: _clocked(ask, experts) for store, ask in asks.items()}
            for name, experts, asks in (
                ("activations", asked, _activations(stores, connection)),
                (f"best {BEST} tokens", asked, _best(stores, connection)),
                (f"top {LIMIT} experts", asked[:5], _top(stores, connection)),
            )
        }
    size = stores.bytes()
    return {
        "tokens": stores.tokens,
        "pairs": stores.pairs,
        "bytes": size,
        "bytes_ratio": {name: value / size["ours"] for name, value in size.items()},
        "ms": {name: {store: clock.summary()["p50_ms"] for store, clock in q.items()} for name, q in queries.items()},
        "cpu_ms": {
            name: {store: clock.summary()["cpu_p50_ms"] for store, clock in q.items()} for name, q in queries.items()
        },
        "ratio": {
            name: {s: c.summary()["p50_ms"] / q["ours"].summary()["p50_ms"] for s, c in q.items()}
            for name, q in queries.items()
        },
    }


def make_stores(run: Run, folder: Path, group: int) -> Stores:
    """The three stores of a group's activations at the run's first tokens."""
    if not run.documents["kept"].all():
        raise UnsupportedError("the comparison needs a run that holds the routing of all its tokens.")
    pairs_a_token = run.experts(group)["tokens"].sum() / run.tokens_total
    cut = cut_run(run, folder / "run", group, int(MAX_PAIRS / pairs_a_token))
    pairs = write_table(cut, folder / "table.parquet", group)
    delphi = write_delphi(cut, folder, group)
    return Stores(run, cut, group, folder / "table.parquet", delphi, cut.tokens_total, pairs)


def cut_run(run: Run, folder: Path, group: int, tokens: int) -> Run:
    """A run of one part with the first whole documents that have at most ``tokens`` tokens (of at least one): enough
    of it to ask for activations of one group."""
    documents = run.documents
    count = max(1, int(np.searchsorted(documents["tokens"].cumsum(), tokens, side="right")))
    documents = documents[:count]
    rows = int(documents["tokens"].sum())
    for name in (part_name("tokens", 0), part_name("documents", 0), routing_name(0, group), index_name(0, group)):
        (folder / name).parent.mkdir(parents=True)
    with (
        pq.ParquetWriter(folder / routing_name(0, group), ROUTING, **PARQUET) as writer,
        IndexWriter(folder / index_name(0, group), run.heads, run.num_keys) as index,
    ):
        for begin in range(0, rows, ROW_GROUP):
            sides = run.sides(slice(begin, min(begin + ROW_GROUP, rows)), group)
            writer.write_table(to_arrow(*sides))
            index.add(*sides)
    inside = {doc: table[["position", "token"]].to_dict("records") for doc, table in run.control_tokens.groupby("doc")}
    control = [inside.get(doc, []) for doc in documents["doc"]]
    for name, frame, schema in (
        ("tokens", run.tokens(slice(rows)), TOKENS),
        ("documents", documents.assign(text=None, control=control), DOCUMENTS),
    ):
        table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
        pq.write_table(table, folder / part_name(name, 0), compression="zstd", row_group_size=4096)
    first = run.manifest["parts"][0]
    part = first | {"documents": [0, count], "rows": [0, rows], "windows": [0, first["windows"][1]]}
    return Run(folder, run.manifest | {"parts": [part], "tokenizer": None})


def write_table(run: Run, path: Path, group: int) -> int:
    """The expanded table of a group's activations, sorted by expert, then token; returns its rows."""
    pieces: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    for begin in range(0, run.tokens_total, PAIR_TOKENS):
        pairs = expand(*run.sides(slice(begin, begin + PAIR_TOKENS), group), run.heads, run.num_keys)
        pieces.append(((pairs.token + begin).astype(np.int32), pairs.expert.astype(np.int32), pairs.score.astype("f2")))
    token, expert, score = (np.concatenate(column) for column in zip(*pieces, strict=True))
    order = np.argsort(expert, kind="stable")
    table = pa.table({"token": token[order], "expert": expert[order], "score": score[order]})
    pq.write_table(table, path, compression="zstd", row_group_size=TABLE_ROWS, use_dictionary=["expert"])
    return len(order)


Asks = dict[str, Callable[[int], Any]]


def _clocked(ask: Callable[[int], Any], experts: list[int]) -> Clock:
    ask(int(experts[0]))
    clock = Clock("")
    for expert in experts:
        clock.time(lambda: ask(int(expert)))  # noqa: B023
    return clock


def _delphi(stores: Stores, expert: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Locations and activations of one latent, as Delphi's loader gets them: out of the whole file it is in."""
    from safetensors.numpy import load_file

    for file in stores.delphi.glob("*.safetensors"):
        first, last = map(int, file.stem.split("_"))
        if first <= expert <= last:
            data = load_file(file)
            here = data["locations"][:, 2] == expert - first
            return data["locations"][here], data["activations"][here]
    raise AssertionError("a file holds every latent")


def _activations(stores: Stores, connection: Any) -> Asks:
    import pandas as pd

    query = f"SELECT token, score FROM '{stores.table}' WHERE expert = ?"
    return {
        "ours": lambda expert: stores.cut.activations(stores.group, expert),
        "duckdb": lambda expert: connection.execute(query, [expert]).df(),
        "pandas": lambda expert: pd.read_parquet(stores.table, filters=[("expert", "==", expert)]),
        "delphi": lambda expert: _delphi(stores, expert),
    }


def _best(stores: Stores, connection: Any) -> Asks:
    import pandas as pd

    query = f"SELECT token, score FROM '{stores.table}' WHERE expert = ? ORDER BY score DESC LIMIT {BEST}"

    def by_pandas(expert: int) -> Any:
        table = pd.read_parquet(stores.table, filters=[("expert", "==", expert)])
        return table.astype({"score": np.float32}).nlargest(BEST, "score")

    def by_delphi(expert: int) -> Any:
        locations, activations = _delphi(stores, expert)
        best = np.argsort(-activations.astype(np.float32))[:BEST]
        return locations[best], activations[best]

    return {
        "ours": lambda expert: stores.whole.examples(stores.group, expert, BEST),
        "duckdb": lambda expert: connection.execute(query, [expert]).df(),
        "pandas": by_pandas,
        "delphi": by_delphi,
    }


def _top(stores: Stores, connection: Any) -> Asks:
    """The experts with the most mass among those active at enough tokens; the expert asked for plays no part."""
    import pandas as pd
    from safetensors.numpy import load_file

    query = (
        f"SELECT expert, count(*) AS tokens, sum(score) AS mass FROM '{stores.table}' GROUP BY expert "
        f"HAVING tokens >= {MIN_TOKENS} ORDER BY mass DESC LIMIT {LIMIT}"
    )

    def by_pandas(_: int) -> Any:
        table = pd.read_parquet(stores.table, columns=["expert", "score"])
        grouped = table.astype({"score": np.float32}).groupby("expert")["score"].agg(["size", "sum"])
        return grouped[grouped["size"] >= MIN_TOKENS].nlargest(LIMIT, "sum")

    def by_delphi(_: int) -> Any:
        mass = np.zeros(stores.whole.num_keys**2)
        tokens = np.zeros(len(mass), np.int64)
        for file in stores.delphi.glob("*.safetensors"):
            first, last = map(int, file.stem.split("_"))
            data = load_file(file)
            latent = data["locations"][:, 2]
            tokens[first : last + 1] = np.bincount(latent, minlength=last + 1 - first)
            mass[first : last + 1] = np.bincount(latent, data["activations"], last + 1 - first)
        mass[tokens < MIN_TOKENS] = -1
        best = np.argsort(-mass)[:LIMIT]
        return best[mass[best] >= 0]

    where = {"tokens": (MIN_TOKENS, None)}
    return {
        "ours": lambda _: stores.whole.top_experts(stores.group, "mass", where=where, limit=LIMIT),
        "duckdb": lambda _: connection.execute(query).df(),
        "pandas": by_pandas,
        "delphi": by_delphi,
    }
