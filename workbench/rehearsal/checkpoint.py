"""Random checkpoints of published shapes, laid out as the published ones are, and a corpus to read with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from monet_model import MonetConfig, MonetForCausalLM

from ..errors import UnsupportedError
from ..extras import missing
from ..progress import Progress
from ..store.files import replacing

SHAPES: dict[str, dict[str, int]] = {  # arXiv 2412.04139, Table 6
    "850M": {"hidden_size": 1536, "num_attention_heads": 12, "moe_dim": 12, "moe_heads": 6, "num_hidden_layers": 24},
    "1.4B": {"hidden_size": 2048, "num_attention_heads": 16, "moe_dim": 16, "moe_heads": 8, "num_hidden_layers": 24},
}
VOCABULARY = 32_000
SHARDS = 3
TOKENIZER = "tokenizer.model.v1"  # of mistral-common: 32,000 pieces of byte-pair encoding
TEXT = 900  # characters of each document
INDEX = "model.safetensors.index.json"


def published_config(shape: str) -> dict[str, Any]:
    """The configuration of a shape, with the fields that transformers 4 wrote."""
    sizes = SHAPES[shape]
    return {
        "architectures": ["MonetForCausalLM"],
        "model_type": "monet",
        "torch_dtype": "bfloat16",
        "transformers_version": "4.46.0",
        "vocab_size": VOCABULARY,
        "num_key_value_heads": sizes["num_attention_heads"],
        "moe_experts": 512,
        "moe_topk": 8,
        "moe_groups": 4,
        "moe_decompose": "vertical",
        "hidden_act": "relu2",
        "intermediate_size": None,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": None,
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | sizes


def write_checkpoint(folder: Path, config: dict[str, Any], tokenizer: Path, advance: Progress) -> None:
    """Write a random checkpoint in bfloat16 shards with SentencePiece's tokenizer; shards that are there are kept.

    Router logits have a standard deviation of about 1 and statistics to match, so that about ``moe_topk`` keys are
    active per head, as in a trained model.

    Args:
        folder: to write, or to complete.
        config: as ``published_config`` returns it.
        tokenizer: SentencePiece's file.
        advance: called with the number of weights written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    _write_tokenizer(folder, tokenizer)
    with torch.device("meta"):
        shapes = MonetForCausalLM(MonetConfig(**config)).state_dict()
    names = list(shapes)
    cut = -(-len(names) // SHARDS)
    where: dict[str, str] = {}
    for number in range(SHARDS):
        mine = names[number * cut : (number + 1) * cut]
        file = folder / f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        where |= dict.fromkeys(mine, file.name)
        if not file.exists():
            weights = dict(_weights(mine, shapes, config["hidden_size"], number))
            with replacing(file) as unfinished:
                save_file(weights, unfinished, {"format": "pt"})
        advance(sum(shapes[name].numel() for name in mine))
    size = sum((folder / name).stat().st_size for name in set(where.values()))
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _weights(names: list[str], shapes: dict[str, Tensor], hidden: int, seed: int) -> Iterator[tuple[str, Tensor]]:
    drawn = torch.Generator().manual_seed(seed)
    for name in names:
        shape, last = shapes[name].shape, name.rpartition(".")[2]
        if last == "num_batches_tracked":
            yield name, torch.ones(shape, dtype=torch.int64)
        elif last.startswith("running"):
            yield name, torch.full(shape, float(last == "running_var"))
        elif "norm" in name:
            yield name, torch.ones(shape, dtype=torch.bfloat16)
        else:
            std = hidden**-0.5 if ".router." in name else 0.02
            yield name, torch.empty(shape, dtype=torch.bfloat16).normal_(std=std, generator=drawn)


def published_tokenizer() -> Path:
    """The file of a SentencePiece model of 32,000 pieces.

    Raises:
        UnsupportedError: the package that has it is not installed.
    """
    spec = find_spec("mistral_common")  # found, not imported: its code is not needed
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedError(missing("rehearsal", "mistral-common, which has the rehearsal's tokenizer,"))
    return Path(spec.submodule_search_locations[0]) / "data" / TOKENIZER


def _write_tokenizer(folder: Path, tokenizer: Path) -> None:
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")


def write_corpus(source: Path, out: Path, per_label: int) -> None:
    """Write the beginnings of the first documents of each label of a Parquet corpus, as JSON lines."""
    import pandas as pd

    chosen = pd.read_parquet(source, columns=["text", "label"]).groupby("label").head(per_label)
    with replacing(out) as unfinished:
        chosen.assign(text=chosen["text"].str[:TEXT]).to_json(unfinished, orient="records", lines=True)
