"""A run of the present schema, written once and kept: it opens, is sound, and says what it always said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from workbench.store import open_run, verify_run
from workbench.store.checks.manifest import _MANIFEST, _OF_SOME_MODELS, _OF_SOME_TRANSCODED
from workbench.store.index import INDEX
from workbench.store.routing import ROUTING
from workbench.store.schema import (
    DOCUMENTS_OF_PROJECTS,
    EXAMPLES,
    HISTOGRAM_BINS,
    INTERVALS,
    SCHEMA_VERSION,
    TOKENS,
    expert_schema,
    histogram_edges,
)

KEPT = Path(__file__).parent / "schemas" / f"v{SCHEMA_VERSION}"


def test_the_kept_run_of_this_schema_is_sound() -> None:
    assert verify_run(KEPT) == []


def test_the_kept_run_of_this_schema_keeps_its_meaning() -> None:
    run = open_run(KEPT)
    assert (run.groups, run.group_layers, run.num_keys, run.heads) == ([0, 1], [0, 2], 16, 2)
    assert (run.labels, run.tokens_total) == (["a", "b"], 213)
    assert run.documents["bos"].isna().tolist() == [True, False] * 4 + [False] * 2
    assert run.documents["original"].tolist() == [*range(8), 1, 9]
    assert run.control_tokens.values.tolist() == [[4, 30, 2], [7, 1, 2], [9, 10, 2], [9, 11, 1], [9, 33, 2]]
    assert [window[:2].tolist() for window, _ in run.windows_of(9)] == [[1, 55], [1, 117], [1, 87]]
    assert [len(window) for window, _ in run.windows_of(9)] == [16, 16, 8]
    assert run.input_ids(1)[:4].tolist() == [1, 125, 125, 19]
    experts = run.top_experts(0, limit=2)
    assert experts.index.tolist() == [102, 25]
    expected = {"tokens": 86, "mass": 10.090020407689735, "mean": 0.11732581869406669, "max": 0.9153643846511841}
    expected |= {"tokens:a": 38, "tokens:b": 48, "mass:a": 4.0373993496614276, "mass:b": 6.052621058028308}
    assert experts.iloc[0].to_dict() == expected
    counts = [0, 0, 0, 2, 0, 2, 5, 7, 9, 5, 6, 10, 8, 5, 2, 7, 2, 7, 9, 0]
    assert run.histogram(0, 102)["count"].tolist() == counts
    active = run.activations(0, 102)
    assert (len(active), active["row"][:3].tolist(), active["token"][:3].tolist()) == (86, [8, 10, 13], [63, 52, 10])
    assert active["score"][:2].tolist() == [0.0003651566803455353, 0.0005175843834877014]
    examples = run.examples(0, 102, 3)
    assert examples[["row", "doc", "position", "window"]].values.tolist() == [
        [82, 4, 14, 6],
        [110, 5, 13, 9],
        [103, 5, 6, 9],
    ]
    sampled = run.examples_by_score(0, 102)
    assert sampled["row"][:4].tolist() == [61, 103, 109, 42]
    assert sampled["low"][:4].tolist() == [0.5, 0.5, 0.5, 0.25]
    routing = run.routing([5], 0)
    assert routing.indices1[0, 0].tolist() == [0, 1, 3, 9, 10, 13, 14]
    assert routing.counts2.tolist() == [[5, 4]]


def test_histogram_edges_are_octaves_up_to_the_number_of_heads() -> None:
    edges = histogram_edges(6)
    assert len(edges) == HISTOGRAM_BINS + 1
    assert (edges[0], edges[-1]) == (0.0, 8.0)
    assert (np.diff(np.log2(edges[1:])) == 1).all()


# docs/run-format.md, and the schemas it describes.

DOC = Path(__file__).parents[3] / "docs" / "run-format.md"
FILES = {
    "tokens/part-NNNNN.parquet": TOKENS,
    "documents/part-NNNNN.parquet": DOCUMENTS_OF_PROJECTS,
    "routing/part-NNNNN-group-G.parquet": ROUTING,
    "index/part-NNNNN-group-G.parquet": INDEX,
    "experts/group-G.parquet": expert_schema(["{label}"]),
    "examples/group-G.parquet": EXAMPLES,
    "intervals/group-G.parquet": INTERVALS,
}


def tables_of(text: str) -> dict[str, list[list[str]]]:
    """The cells of the table under each heading that has one."""
    tables: dict[str, list[list[str]]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            tables.setdefault(heading, []).append([cell.strip().strip("`") for cell in line.strip("|").split(" | ")])
    return tables


def type_name(kind: pa.DataType) -> str:
    """A type as the page writes it."""
    if pa.types.is_dictionary(kind):
        return f"dictionary of {kind.value_type}"
    if isinstance(kind, pa.LargeListType):
        return f"large_list of {kind.value_type}"
    if pa.types.is_list(kind):
        fields = ", ".join(f"{field.name} {field.type}" for field in kind.value_type)
        return f"list of struct of {fields}"
    return f"fixed_size_list of {kind.value_type}" if isinstance(kind, pa.FixedSizeListType) else str(kind)


def test_the_format_page_has_every_column_of_every_file_with_its_type() -> None:
    tables = tables_of(DOC.read_text())
    assert set(tables) == {*FILES, "manifest.json"}
    for name, schema in FILES.items():
        assert [row[:2] for row in tables[name]] == [[f.name, type_name(f.type)] for f in schema], name


def test_the_format_page_has_every_entry_of_a_manifest() -> None:
    def names(kinds: dict[str, Any], prefix: str = "") -> set[str]:
        entries = set()
        for name, kind in kinds.items():
            entries.add(prefix + name)
            inner = kind[0] if isinstance(kind, list) else kind
            if isinstance(inner, dict):
                entries |= names(inner, f"{prefix}{name}.")
        return entries

    some = names(_OF_SOME_MODELS, "model.") | names(_OF_SOME_TRANSCODED, "model.transcoded.")
    known = names(_MANIFEST) - {"model", "corpus", "settings"} | {"checksum", "migrated_from"} | some
    assert {row[0] for row in tables_of(DOC.read_text())["manifest.json"]} == known


def test_the_format_page_names_the_schema_version() -> None:
    assert f"**schema version {SCHEMA_VERSION}**" in DOC.read_text()
    assert f"schema version: {SCHEMA_VERSION}" in DOC.read_text()
