"""The rules that ship with the demo are those of the model and the sample that ship with it."""

from __future__ import annotations

from hashlib import sha256

import pyarrow.parquet as pq

from workbench.demo import DEMO, SAMPLE
from workbench.explain.stored import FILE, SCHEMA

SUMS = DEMO / "explanations.sha256"


def test_shipped_rules_belong_to_the_shipped_model_and_sample() -> None:
    lines = dict(reversed(line.split()) for line in SUMS.read_text().splitlines())
    assert set(lines) == {"model.safetensors", "config.json", "tokenizer.json", SAMPLE}
    for name, told in lines.items():
        assert sha256((DEMO / name).read_bytes()).hexdigest() == told, (
            f"{name} has changed: run `monet explain runs/demo --rules`, copy {FILE} and write {SUMS.name} again"
        )


def test_shipped_rules_read_as_stored_explanations() -> None:
    table = pq.read_table(DEMO / FILE)
    assert table.schema.names == SCHEMA.names
    frame = table.to_pandas()
    assert set(frame["kind"]) == {"rule"}
    assert len(frame) > 8000
    assert frame["text"].str.startswith("Fires ").all()
    assert not frame.duplicated(["group", "expert"]).any()
    assert frame["average_precision"].median() > frame["average_precision:token"].median()
