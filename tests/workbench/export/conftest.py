"""Small corpora of token ids with labels, golden models run over them, and a dense recount to hold runs against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from monet_model import MonetForCausalLM
from workbench import Run, open_run
from workbench.export import export_run

GOLDEN = Path(__file__).parents[2] / "golden"
LABELS = ("prose", "code", "sums")
BOS, EOS, VOCABULARY, CONTEXT = 1, 2, 128, 48

torch.set_num_threads(1)


def random_documents(seed: int, count: int = 14) -> list[dict[str, Any]]:
    """Documents of random ids: some begin with the start-of-text token, some hold it later, one is empty, some are
    longer than a context window."""
    rng = np.random.default_rng(seed)
    lengths = [0, 1, CONTEXT, CONTEXT + 1, 3 * CONTEXT, *rng.integers(1, 4 * CONTEXT, count - 5)]
    documents = []
    for number, length in enumerate(lengths):
        ids = rng.integers(0, VOCABULARY, length)
        if number % 2 and length:
            ids[0] = BOS
        label = LABELS[number % len(LABELS)]
        documents.append(
            {"input_ids": ids.tolist(), "label": label, "source": f"{label}/{number}", "score": number / 8}
        )
    return documents


def write_corpus(path: Path, documents: list[dict[str, Any]]) -> Path:
    """A Parquet file of documents."""
    Dataset.from_list(documents).to_parquet(str(path))
    return path


@dataclass(frozen=True)
class Exported:
    """A run, and what it was made from."""

    run: Run
    model: Path
    documents: list[dict[str, Any]]
    examples: int = 5
    examples_per_document: int = 2


@pytest.fixture(scope="session", params=["tiny-vd", "tiny-hd"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A golden model over a corpus of ids, in several parts and several windows a document."""
    folder = tmp_path_factory.mktemp(request.param)
    documents = random_documents(0)
    corpus = write_corpus(folder / "corpus.parquet", documents)
    settings: dict[str, Any] = {"batch_size": 3, "context": CONTEXT, "part_tokens": 150}
    export_run(GOLDEN / request.param, corpus, folder / "run", examples=5, examples_per_document=2, **settings)
    kept = [document for document in documents if document["input_ids"]]  # an empty one is left out
    return Exported(open_run(folder / "run"), GOLDEN / request.param, kept)


@pytest.fixture(scope="session")
def id_documents() -> Callable[..., list[dict[str, Any]]]:
    """``random_documents``."""
    return random_documents


@pytest.fixture(scope="session")
def id_corpus() -> Callable[[Path, list[dict[str, Any]]], Path]:
    """``write_corpus``."""
    return write_corpus


@dataclass(frozen=True)
class Recount:
    """Every counted token of a corpus, with dense routing and scores of a group, window by window.

    Attributes:
        scores: (tokens, E * E).
        g1, g2: (tokens, heads, E).
        doc, position, token: (tokens,).
        label: label of each token.
        window: global number of each token's context window.
    """

    scores: np.ndarray
    g1: np.ndarray
    g2: np.ndarray
    doc: np.ndarray
    position: np.ndarray
    token: np.ndarray
    label: np.ndarray
    window: np.ndarray


def recount(exported: Exported, group: int, cut: Callable[..., Any]) -> Recount:
    """The obvious way: one window at a time through the whole model, every expert's score written out."""
    model: Any = MonetForCausalLM.from_pretrained(exported.model).eval()
    layer = model.config.routing_groups[group].start
    columns: dict[str, list[Any]] = {name: [] for name in Recount.__dataclass_fields__}
    window = 0
    for doc, document in enumerate(exported.documents):
        ids = document["input_ids"]
        begin = 0
        for part, again in cut(ids, int(ids[:1] == [BOS]), CONTEXT):
            with torch.no_grad():
                probs = model(torch.tensor([part]), output_router_probs=True).router_probs[layer]
            g1, g2 = (g[0].double().numpy() for g in probs)
            for at in range(again, len(part)):
                position, begin = begin, begin + 1
                if part[at] in (BOS, EOS):
                    continue
                values = (np.einsum("hi,hj->ij", g1[at], g2[at]).ravel(), g1[at], g2[at], doc, position, part[at])
                for name, value in zip(columns, (*values, document["label"], window), strict=True):
                    columns[name].append(value)
            window += 1
    return Recount(**{name: np.array(values) for name, values in columns.items()})


@pytest.fixture(scope="session", params=[0, 1])
def counted(request: pytest.FixtureRequest, exported: Exported, cut: Callable[..., Any]) -> tuple[int, Recount]:
    """Each group of each exported run with its dense recount."""
    return request.param, recount(exported, request.param, cut)


@pytest.fixture(scope="session")
def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 128 tokens: special tokens, ASCII, and the bytes that a few characters are made of, one
    pair of them merged."""
    letters = [chr(code) for code in range(33, 122)] + ["Ġ", "Ċ", "ĉ"]
    pieces = ["Ã", "©", "â", "Ĥ", "¬", "ðŁ", "ĺ", "Ģ", "ð", "Ł"]  # é is C3 A9, € is E2 82 AC, 😀 is F0 9F 98 80
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "<pad>", *letters, *pieces])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("ð", "Ł")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
