"""`python -m workbench.bench.scale [--json]`: the cost of exporting and analysing 10 billion tokens of monet-vd-1.4B.

Measured, in processor time with the model on one thread: two random models of the 1.4B shape, with two and with three
layers, and the totals of their groups (14 labels). Computed from these: the real model, with 24 layers in groups of 4,
up to the last router. What analyses cost is ``analysis_cost``'s. `docs/scale.md` holds the figures and assumptions.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from cuda_ext.routing import Routing
from monet_model import MonetConfig

from ..export.cluster import on_cluster
from ..export.documents import Document
from ..export.part import Part
from ..export.parts import empty_totals
from ..export.pipeline import export_part, pad
from ..export.reader import routing_reader
from ..export.state import Totals
from ..memory import keep_heap
from ..store.index import IndexWriter
from ..store.manifest import describe_file
from ..store.routing import PARQUET, ROUTING, ROW_GROUP, Side, to_arrow
from .analysis_cost import CORPORA, analysis_tables, compute_analysis, measure_analysis
from .common import Table, make_parser, print_result
from .shapes import cpu_seconds, random_model

SHAPE: dict[str, Any] = {
    "vocab_size": 1024, "hidden_size": 2048, "num_attention_heads": 16, "moe_dim": 16, "moe_heads": 8,
    "moe_experts": 512, "moe_topk": 32,
}  # fmt: skip
LABELS = [f"label {number}" for number in range(14)]
TOKENS, CORPUS = 256, 10**10
LAYERS, GROUP_LAYERS, VOCABULARY = 24, 4, 32_000  # of monet-vd-1.4B
GROUPS = LAYERS // GROUP_LAYERS
LAST_ROUTER = LAYERS - GROUP_LAYERS  # the layer at which a pass ends
PARTS = (262_144, 4_194_304)  # tokens per part: the default, and one for a big cluster
RAY_PARTS = 4
GPU_FLOPS = 200e12  # assumed, not measured: sustained by one GPU in TF32


def measure(tokens: int, shape: dict[str, Any] = SHAPE, ray: bool = True) -> dict[str, float]:
    """Measure time and bytes per token and group, over ``tokens`` tokens after as many unmeasured ones."""
    with TemporaryDirectory() as folder:
        two = _measure_model(MonetConfig(**shape, num_hidden_layers=2, moe_groups=1), tokens, Path(folder) / "two")
        three = _measure_model(MonetConfig(**shape, num_hidden_layers=3, moe_groups=2), tokens, Path(folder) / "three")
        gathered: list[Totals] = two.pop("totals")
        layer = three["forward_us"] - two["forward_us"]
        measured: dict[str, float] = {
            "tokens": tokens,
            "layer_us": layer,
            "router_us": (two["forward_us"] - layer) / 2,  # attention before the last router counted with it
            "keep_us": (two["all_us"] - two["forward_us"]) / 2,
            "group_bytes": two["group_bytes"] / 2,
            "token_bytes": two["token_bytes"],
            **two["written"],
        }
        measured["merge_ms"] = cpu_seconds(lambda: gathered[0].merge(gathered[1])) * 1e3
        saved = Path(folder) / "state.npz"
        save = cpu_seconds(lambda: gathered[0].save(saved))
        measured["save_ms"] = (save + cpu_seconds(lambda: describe_file(saved))) * 1e3
        measured["state_bytes"] = saved.stat().st_size
    return measured | (_measure_ray(gathered[0]) if ray else {})


def _documents(config: MonetConfig, tokens: int, first: int) -> list[Document]:
    """Documents of random ids, one window each."""
    rng = np.random.default_rng(first)
    window = min(256, tokens)
    return [
        _document(first + n, LABELS[n % len(LABELS)], ids)
        for n, ids in enumerate(rng.integers(0, config.vocab_size, (tokens // window, window)).astype(np.int32))
    ]


def _document(number: int, label: str, ids: NDArray[np.int32]) -> Document:
    """A document that gave ids, none of them a control token."""
    none = np.zeros(len(ids), bool)
    return Document(
        number,
        label,
        source=None,
        score=None,
        text=None,
        ids=ids,
        offsets=None,
        control=none,
        bos=False,
        size=len(ids),
        original=number,
    )


def _measure_model(config: MonetConfig, tokens: int, folder: Path) -> dict[str, Any]:
    """Measure processor time per token of the forward pass and of a whole export, and the bytes it writes."""
    model, batch = random_model(config), 16
    settings: dict[str, Any] = {
        "context": 256,
        "overlap": 0,
        "examples": 32,
        "examples_per_document": 4,
        "keep_routing": 1.0,
    }
    routing = {"keys": config.moe_experts, "heads": config.moe_heads, "groups": range(len(config.routing_groups))}
    totals = empty_totals({"model": routing, "labels": LABELS, "settings": settings})
    first, second = (_documents(config, tokens, n * tokens) for n in (0, 1))
    parts = [
        Part(n, held, n * tokens, n * len(held), LABELS, settings, False) for n, held in enumerate((first, second))
    ]
    export_part(parts[0], model, folder, batch, totals, lambda *_: None)  # lists fill, memory is there
    names: list[str] = []
    everything = cpu_seconds(lambda: names.extend(export_part(parts[1], model, folder, batch, totals, lambda *_: None)))
    batches = [pad(windows)[:2] for windows in parts[1].batches(batch)]
    routings: list[list[Routing]] = []
    with routing_reader(model) as read_routing:
        forward = cpu_seconds(lambda: routings.extend(read_routing(*windows) for windows in batches))
    sizes = {name: (folder / name).stat().st_size / tokens for name in names}
    grouped = sum(size for name, size in sizes.items() if name.startswith(("routing", "index")))
    return {
        "all_us": everything / tokens * 1e6,
        "forward_us": forward / tokens * 1e6,
        "group_bytes": grouped,
        "token_bytes": sum(sizes.values()) - grouped,
        "totals": totals,
        "written": _measure_written(Routing.cat([groups[0] for groups in routings]), folder),
    }


def _measure_written(routing: Routing, folder: Path) -> dict[str, float]:
    """Measure what routing is before it is written, and what writing it takes of the processor, per token and group."""
    arrays = [value for value in vars(routing).values() if isinstance(value, torch.Tensor)]
    sides: list[Side] = []

    def write() -> None:
        for keys, probs in ((routing.indices1, routing.probs1), (routing.indices2, routing.probs2)):
            sides.append(Side.from_padded(keys.numpy(), probs.numpy(), routing.num_keys))
        with pq.ParquetWriter(folder / "bench-routing", ROUTING, **PARQUET) as file:
            file.write_table(to_arrow(*sides), row_group_size=ROW_GROUP)

    def invert() -> None:
        with IndexWriter(folder / "bench-index", routing.indices1.shape[1], routing.num_keys) as index:
            index.add(*sides)
            index.flush()

    return {
        "padded_bytes": sum(array.numel() * array.element_size() for array in arrays) / len(routing),
        "parquet_us": cpu_seconds(write) / len(routing) * 1e6,
        "index_us": cpu_seconds(invert) / len(routing) * 1e6,
    }


def _give(_: Part, total: Totals) -> tuple[float, Totals]:
    return time.time(), total


def _measure_ray(total: Totals) -> dict[str, float]:
    """Measure, by the clock, the seconds until a new local cluster returns its first result, and the milliseconds until
    each further one: the totals of one group, from an otherwise idle worker."""
    ids = [_document(0, LABELS[0], np.zeros(1, np.int32))]
    parts = [
        Part(n, ids, n, n, LABELS, {"context": 1, "overlap": 0, "keep_routing": 1.0}, False) for n in range(RAY_PARTS)
    ]
    begun, ends = time.time(), []
    for _ in on_cluster(parts, partial(_give, total=total), "local", 1, lambda: None, str):
        ends.append(time.time())
    return {"ray_start_s": ends[0] - begun, "ray_part_ms": (ends[-1] - ends[0]) / (len(ends) - 1) * 1e3}


def compute(measured: dict[str, float]) -> dict[str, float]:
    """Compute the figures of monet-vd-1.4B over 10 billion tokens from the measured ones."""
    forward = LAST_ROUTER * measured["layer_us"] + GROUPS * measured["router_us"]
    keep = GROUPS * measured["keep_us"]
    hidden, experts, units = SHAPE["hidden_size"], SHAPE["moe_experts"], SHAPE["moe_dim"]
    experts_and_attention = 2 * hidden * experts * units + 4 * hidden**2  # multiplications per layer
    router = 2 * hidden * experts * SHAPE["moe_heads"]
    operations = 2 * (LAST_ROUTER * experts_and_attention + GROUPS * router)
    parameters = LAYERS * experts_and_attention + GROUPS * router + 2 * VOCABULARY * hidden
    step = GROUPS * (measured["merge_ms"] + measured["save_ms"]) / 1e3
    figures = {
        "tokens_s_core": 1e6 / (forward + keep),
        "forward_share": forward / (forward + keep),
        "core_hours": CORPUS * (forward + keep) / 1e6 / 3600,
        "keep_core_hours": CORPUS * keep / 1e6 / 3600,
        "gflop_token": operations / 1e9,
        "gpu_hours": CORPUS * operations / GPU_FLOPS / 3600,
        "terabytes": CORPUS * (GROUPS * measured["group_bytes"] + measured["token_bytes"]) / 1e12,
        "terabytes_tokens_only": CORPUS * measured["token_bytes"] / 1e12,
        "totals_gigabytes": GROUPS * measured["state_bytes"] / 1e9,
        "worker_gigabytes": (4 * parameters + GROUPS * measured["state_bytes"]) / 1e9,
        "driver_part_s": step,
    }
    for size in PARTS:
        figures[f"driver_hours_{size}"] = CORPUS / size * step / 3600
        figures[f"most_cores_{size}"] = size * (forward + keep) / 1e6 / step
    return figures


_WORDS = {
    "layer_us": "µs per token: a layer without its router, one thread",
    "router_us": "µs per token and group: router, with the attention before the last one",
    "keep_us": "µs per token and group: statistics, examples, routing, index, compression",
    "parquet_us": "µs of these: writing the routing as Parquet",
    "index_us": "µs of these: inverting it and writing the index",
    "padded_bytes": "bytes per token and group: the routing in memory, padded",
    "group_bytes": "bytes per token and group: routing and its inverted index",
    "token_bytes": "bytes per token: tokens and documents without text",
    "merge_ms": "ms per part and group: merging its totals",
    "save_ms": "ms per part and group: writing and hashing the totals so far",
    "state_bytes": "bytes of a group's totals",
    "ray_start_s": "s until a new local cluster returns its first part, by the clock",
    "ray_part_ms": "ms per part and group: its totals through Ray, by the clock",
    "tokens_s_core": "tokens/s per core, all kept",
    "forward_share": "fraction of that time spent in the model",
    "core_hours": "core hours in total",
    "keep_core_hours": "of these, for keeping statistics, examples and routing",
    "gflop_token": "GFLOP per token up to the last router",
    "gpu_hours": f"GPU hours of the forward pass, at an assumed {GPU_FLOPS / 1e12:g} TFLOP/s",
    "terabytes": "TB of the run, all routing kept",
    "terabytes_tokens_only": "TB of the run with --keep-routing none",
    "totals_gigabytes": "GB of totals: held by the driver, and returned by each part",
    "worker_gigabytes": "GB of memory per worker: the model in float32, and totals",
    "driver_part_s": "s of the driver per part: merging and saving six groups",
}


def tables(result: dict[str, dict[str, float]]) -> list[Table]:
    """The result as tables."""

    def rows(figures: dict[str, float]) -> list[list[str]]:
        return [[f"{figures[name]:,.4g}", words] for name, words in _WORDS.items() if name in figures]

    measured, computed = result["measured"], result["computed"]
    parts = [
        [f"{size:,}", f"{computed[f'driver_hours_{size}']:,.3g}", f"{computed[f'most_cores_{size}']:,.3g}"]
        for size in PARTS
    ]
    return [
        (f"Measured, {measured['tokens']} tokens of random models of the 1.4B shape", ["", ""], rows(measured)),
        (f"Computed for monet-vd-1.4B over {CORPUS:,} tokens", ["", ""], rows(computed)),
        ("The driver", ["tokens per part", "hours", "cores that it keeps busy"], parts),
    ]


def main(argv: list[str] | None = None) -> None:
    """Run the bench and print its tables, or one JSON document."""
    parser = make_parser("scale", __doc__)
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"tokens to measure with ({TOKENS})")
    options = parser.parse_args(argv)
    if options.tokens < 1 or options.tokens % min(256, options.tokens):
        parser.error("--tokens must be 1 to 256 or a multiple of 256")
    torch.set_num_threads(1)
    keep_heap()
    measured = measure(options.tokens)
    result: dict[str, Any] = {"measured": measured, "computed": compute(measured)}
    analysis = measure_analysis(SHAPE)
    computed = {str(tokens): compute_analysis(analysis, tokens, GROUPS) for tokens in CORPORA}
    whole = result | {"analysis": {"measured": analysis, "computed": computed}}
    print_result(whole, [*tables(result), *analysis_tables(analysis, GROUPS)], options.json)


if __name__ == "__main__":
    main()
