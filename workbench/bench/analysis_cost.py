"""What `monet analyze` costs on runs of the 1.4B shape: measured on a few thousand tokens, computed for many.

Part of ``python -m workbench.bench.scale``. Measured in processor time of one core: everything but the tests on one
block of 2^24 activations; the permutation tests on experts of two numbers of documents; reading a narrow block of the
copy that is sorted by key.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import Dataset

from monet_model import MonetConfig

from ..analysis.activations import MAX_PAIRS, CrossTable
from ..analysis.defaults import PERMUTATIONS
from ..analysis.sorted_routing import SortedRouting
from ..analysis.specialisation.analyze_result import Settings
from ..analysis.specialisation.evidence import Evidence
from ..analysis.specialisation.label_null import LabelNull
from ..export import export_run
from ..store import open_run
from ..store.routing import Side
from .common import Table
from .shapes import cpu_seconds, random_model

TOKENS = 2048  # of the 1.4B shape: one block of 2^24 activations
TEST_EXPERTS, TEST_DOCUMENTS, TEST_LABELS = 2048, (100, 400), 14
COPY_TOKENS = 2**17  # in the copy: those of the run, again and again
NARROW = 7  # keys of either set, of 512: as a block of 10 million tokens has them
CORPORA = (10**6, 10**7, 10**8, 10**10)  # tokens
SAMPLES = (10, 100)  # documents per label
DOCUMENT_TOKENS = 1000  # assumed
EXPERTS = 512**2
PARTS = ("of_activations", "of_passes", "of_tests")


def measure_analysis(shape: dict[str, Any], tokens: int = TOKENS) -> dict[str, float]:
    """Measure what an analysis costs on a run of random documents by a random model of one group of a shape."""
    config = MonetConfig(**shape, num_hidden_layers=1, moe_groups=1)
    rng, window = np.random.default_rng(0), min(256, tokens // 4)
    rows = [
        {"input_ids": ids.tolist(), "label": f"label {number % 2}"}
        for number, ids in enumerate(rng.integers(0, config.vocab_size, (tokens // window, window)))
    ]
    with TemporaryDirectory() as folder:
        random_model(config).save_pretrained(Path(folder) / "model")
        export_run(Path(folder) / "model", Dataset.from_list(rows), Path(folder) / "run", context=window)
        run = open_run(Path(folder) / "run")
        evidence = Evidence(run, Settings(permutations=1))  # texts are shifted where there are tests
        blocks = evidence.blocks()
        whole = cpu_seconds(lambda: [evidence(block) for block in blocks])
        active = int(run.experts(0, ["tokens"])["tokens"].sum())
        sides = run.sides(slice(None), 0)

        def repeated(group: int, start: int, size: int) -> tuple[Side, Side]:
            first, second = (Side.cat([side] * -(-size // len(side)))[:size] for side in sides)
            return first, second

        copy = SortedRouting(repeated, COPY_TOKENS, run.heads, run.num_keys)
        cuts = [*range(0, run.num_keys, NARROW), run.num_keys]
        list(copy.pairs(0, (cuts, cuts), 0, 0))  # makes the copy
        passed = cpu_seconds(lambda: list(copy.pairs(0, (cuts, cuts), 1, 1)))
        size = sum(path.stat().st_size for path in (Path(folder) / "run" / "routing").iterdir())
    few, many = (_tests(documents) for documents in TEST_DOCUMENTS)
    by_document = (many - few) / (TEST_DOCUMENTS[1] - TEST_DOCUMENTS[0])
    return {
        "activations": active / run.tokens_total,
        "activation_us": whole / active * 1e6,
        "activations_s": active / whole,
        "pass_us": passed / COPY_TOKENS * 1e6,
        "expert_us": (few - TEST_DOCUMENTS[0] * by_document) * 1e6,
        "expert_document_us": by_document * 1e6,
        "routing_bytes": size / run.tokens_total,
        "copy_bytes": 8 * sum(len(side.keys) for side in sides) / run.tokens_total,
    }


def _tests(documents: int) -> float:
    """Seconds of the permutation tests of an expert that is active in all documents and certain, so never let go."""
    rng = np.random.default_rng(0)
    label = np.arange(documents) % TEST_LABELS
    size = np.full(documents, DOCUMENT_TOKENS)
    expert, document = (at.ravel() for at in np.indices((TEST_EXPERTS, documents)))
    mass = (rng.random(len(expert)) * (1 + 9 * (label[document] == expert % TEST_LABELS))).astype(np.float32)
    table = CrossTable(expert, document, mass, np.full(len(expert), 20))
    null = LabelNull(label, size, TEST_LABELS, PERMUTATIONS, 0)
    null.p_values(table, np.arange(64))
    return cpu_seconds(lambda: null.p_values(table, np.arange(TEST_EXPERTS))) / TEST_EXPERTS


def compute_analysis(measured: dict[str, float], tokens: float, groups: int) -> dict[str, float]:
    """Compute what `monet analyze` costs over a number of tokens that are read.

    Args:
        measured: as ``measure_analysis`` returns it.
        tokens: read.
        groups: of the model.

    Returns:
        - hours: core hours of all groups.
        - of_activations, of_passes, of_tests: of these, for activations themselves; for what every block reads besides;
          for the permutation tests, of which either half of the documents takes another half.
        - blocks: of experts, in a group: tasks that can be computed at a time.
        - read: gigabytes of routing read.
        - copy: gigabytes of the sorted copies on local disk, two groups at a time.
    """
    activations = tokens * measured["activations"]
    blocks = max(1.0, activations / MAX_PAIRS)
    of_activations = activations * measured["activation_us"]
    of_passes = blocks * tokens * measured["pass_us"]
    documents = tokens / DOCUMENT_TOKENS
    of_tests = 2 * EXPERTS * (1.5 * measured["expert_us"] + documents * measured["expert_document_us"])
    parts = {"of_activations": of_activations, "of_passes": of_passes, "of_tests": of_tests}
    hours = {name: groups * us / 1e6 / 3600 for name, us in parts.items()}
    return {
        "hours": sum(hours.values()),
        **hours,
        "blocks": blocks,
        "read": groups * tokens * measured["routing_bytes"] / 1e9,
        "copy": min(2, groups) * tokens * measured["copy_bytes"] / 1e9,
    }


def analysis_tables(measured: dict[str, float], groups: int) -> list[Table]:
    """The measured figures, and the computed ones of whole corpora and of samples."""
    words = {
        "activations": "activations per token and group",
        "activations_s": "activations per second and core, without tests",
        "pass_us": "µs per token and block of experts: reading the sorted copy",
        "expert_us": f"µs per expert: {PERMUTATIONS} permutations, whatever the documents",
        "expert_document_us": "µs per expert and document: the same, by documents",
        "routing_bytes": "bytes per token and group: routing",
        "copy_bytes": "bytes per token and group: the copy sorted by key",
    }
    sizes = {f"{tokens:,}, all": tokens for tokens in CORPORA}
    for per_label in SAMPLES:
        tokens = per_label * TEST_LABELS * DOCUMENT_TOKENS
        sizes[f"{tokens:,}, a sample of {per_label} documents of each of {TEST_LABELS} labels"] = tokens
    rows = []
    for name, tokens in sizes.items():
        cost = compute_analysis(measured, tokens, groups)
        rows.append([name, *(f"{cost[key]:,.3g}" for key in ("hours", *PARTS, "blocks", "read", "copy"))])
    head = ["tokens read", "core hours", "activations", "passes", "tests", "blocks a group", "GB read", "GB copied"]
    return [
        ("Measured: monet analyze", ["", ""], [[f"{measured[key]:,.4g}", text] for key, text in words.items()]),
        (f"Computed: monet analyze, {groups} groups", head, rows),
    ]
