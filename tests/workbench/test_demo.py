"""The demo that ships: complete, licensed file by file, as good as the README says, and with experts that matter."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import torch
from datasets import Dataset
from safetensors import safe_open
from transformers import AutoTokenizer

from monet_model import MonetForCausalLM
from monet_model.training import read_config
from workbench.demo import DEMO, notice, sample

README = Path(__file__).parents[2] / "README.md"


def test_weights_are_small_and_the_shape_is_the_paper_s() -> None:
    weights = DEMO / "model.safetensors"
    assert weights.stat().st_size < 20e6
    with safe_open(weights, "np") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    assert {kind for name, kind in kinds.items() if "norm1" not in name and "norm2" not in name} == {"F16"}
    model = MonetForCausalLM.from_pretrained(DEMO)
    assert model.dtype == torch.float32
    assert model.config.experts_per_group == 512 * 512
    assert len(model.config.routing_groups) >= 2
    assert model.config.moe_decompose == "vertical"
    assert 4e6 <= model.num_parameters() <= 8e6


def test_it_was_trained_as_its_configuration_says() -> None:
    shape, how = read_config(DEMO / "training.json")
    rows = [json.loads(line) for line in (DEMO / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["tokens"] == how.steps * how.sequence * how.batch >= 10_000_000
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    config = MonetForCausalLM.from_pretrained(DEMO).config
    assert all(getattr(config, name) == getattr(shape, name) for name in ("hidden_size", "moe_dim", "moe_heads"))


def test_every_file_of_the_sample_is_named_with_its_licence() -> None:
    rows = pq.read_table(DEMO / "heldout.parquet").to_pylist()
    assert {row["label"] for row in rows} == {"python", "cpp", "java", "javascript", "lua", "php", "prose"}
    assert all(row["text"] and row["source"] and row["licence"] for row in rows)
    assert (DEMO / "NOTICE").read_text() == notice(Dataset.from_list(rows))
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    tokens = sum(len(ids) for ids in tokenizer([row["text"] for row in rows])["input_ids"])
    assert 110_000 < tokens < 165_000


def test_the_readme_tells_the_held_out_losses_of_the_log() -> None:
    last = json.loads((DEMO / "log.jsonl").read_text().splitlines()[-1])["heldout"]
    told = dict(re.findall(r"^\| (\w+) \| (\d\.\d\d) \|", README.read_text(), re.M))
    assert told == {label: f"{loss:.2f}" for label, loss in last.items()}


def test_a_sample_takes_permissive_files_first_and_cuts_at_a_line() -> None:
    licences = ["GPL-2+", "MIT", "GPL-2+", "MIT"]
    text = "".join(f"local x{n} = {n}\n" for n in range(200))
    rows = [{"text": text, "label": "lua", "licence": name, "source": str(n)} for n, name in enumerate(licences)]
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    found = sample(Dataset.from_list(rows), tokenizer, tokens=300)
    assert found["source"] == ["1", "3"]
    for row in found:
        assert text.startswith(row["text"])
        assert row["text"].endswith("\n")
        assert 240 < len(tokenizer(row["text"])["input_ids"]) <= 256
    assert len(sample(Dataset.from_list(rows), tokenizer, tokens=10**9)) == 4


def test_a_sample_takes_packages_in_turn() -> None:
    sources = [f"big 1.0: {n}" for n in range(20)] + [f"small 2.0: {n}" for n in range(3)]
    rows = [
        {"text": "local x = 1\n", "label": "lua", "licence": "MIT" if "big" in source else "GPL-2+", "source": source}
        for source in sources
    ]
    tokenizer = AutoTokenizer.from_pretrained(DEMO)
    each = len(tokenizer(rows[0]["text"])["input_ids"])
    found = sample(Dataset.from_list(rows), tokenizer, tokens=5 * each)
    assert sorted(source.split()[0] for source in found["source"]) == ["big"] * 3 + ["small"] * 2
    assert len(sample(Dataset.from_list(rows), tokenizer, tokens=10**9)) == 23
