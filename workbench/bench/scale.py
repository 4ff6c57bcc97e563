"""`python -m workbench.bench.scale [--json]`: what exporting 10 billion tokens of monet-vd-1.4B costs.

Measured, in processor time, the model on one thread: two random models of the 1.4B shape, of two and of three layers,
and the totals of their groups (14 labels). Computed from that: 24 layers in groups of 4, up to the last router, and so
on. `docs/scale.md` holds the figures and what they rest on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from monet_model import MonetConfig, MonetForCausalLM

from ..export.cluster import read_on_cluster
from ..export.documents import Document
from ..export.part import Part
from ..export.parts import empty_totals
from ..export.pipeline import export_part, pad
from ..export.reader import routing_reader
from ..export.state import Totals
from ..memory import keep_heap
from ..store.manifest import describe_file

SHAPE: dict[str, Any] = {
    "vocab_size": 1024, "hidden_size": 2048, "num_attention_heads": 16, "moe_dim": 16, "moe_heads": 8,
    "moe_experts": 512, "moe_topk": 32,
}  # fmt: skip
LABELS = [f"label {number}" for number in range(14)]
TOKENS, CORPUS = 256, 10**10
LAYERS, GROUP_LAYERS, VOCABULARY = 24, 4, 32_000  # of monet-vd-1.4B
GROUPS = LAYERS // GROUP_LAYERS
LAST_ROUTER = LAYERS - GROUP_LAYERS  # the layer at which a pass ends
PARTS = (262_144, 4_194_304)  # tokens a part: the default, and one for a big cluster
RAY_PARTS = 4
GPU_FLOPS = 200e12  # assumed, not measured: sustained by one GPU in TF32


def measure(tokens: int, shape: dict[str, Any] = SHAPE, ray: bool = True) -> dict[str, float]:
    """Microseconds, milliseconds and bytes, a token and a group, of ``tokens`` tokens after as many unmeasured ones."""
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
        }
        measured["merge_ms"] = _cpu(lambda: gathered[0].merge(gathered[1])) * 1e3
        saved = Path(folder) / "state.npz"
        save = _cpu(lambda: gathered[0].save(saved))
        measured["save_ms"] = (save + _cpu(lambda: describe_file(saved))) * 1e3
        measured["state_bytes"] = saved.stat().st_size
    return measured | (_measure_ray(gathered[0]) if ray else {})


def _cpu(act: Callable[[], object]) -> float:
    """Seconds of this process that it takes."""
    begun = time.process_time()
    act()
    return time.process_time() - begun


def _documents(config: MonetConfig, tokens: int, first: int) -> list[Document]:
    """Random ids, a window each."""
    rng = np.random.default_rng(first)
    window = min(256, tokens)
    return [
        Document(first + n, LABELS[n % len(LABELS)], None, None, None, ids, None, False, window)
        for n, ids in enumerate(rng.integers(0, config.vocab_size, (tokens // window, window)).astype(np.int32))
    ]


def _random_model(config: MonetConfig) -> MonetForCausalLM:
    """Logits of its routers have a standard deviation of about 1, as their statistics say; so moe_topk are active."""
    torch.manual_seed(0)
    model = MonetForCausalLM(config).eval()
    for layer in model.model.layers:
        if layer.router is not None:
            for w in (layer.router.w1, layer.router.w2):
                torch.nn.init.normal_(w.weight, std=config.hidden_size**-0.5)
    return model


def _measure_model(config: MonetConfig, tokens: int, folder: Path) -> dict[str, Any]:
    """Processor time of the pass and of all of an export, a token, and the bytes it writes."""
    model, batch = _random_model(config), 16
    settings: dict[str, Any] = {"context": 256, "examples": 32, "examples_per_document": 4, "keep_routing": 1.0}
    routing = {"keys": config.moe_experts, "heads": config.moe_heads, "groups": range(len(config.routing_groups))}
    totals = empty_totals({"model": routing, "labels": LABELS, "settings": settings})
    first, second = (_documents(config, tokens, n * tokens) for n in (0, 1))
    parts = [
        Part(n, held, n * tokens, n * len(held), LABELS, settings, False) for n, held in enumerate((first, second))
    ]
    export_part(parts[0], model, folder, batch, totals, lambda *_: None)  # lists fill, memory is there
    names: list[str] = []
    everything = _cpu(lambda: names.extend(export_part(parts[1], model, folder, batch, totals, lambda *_: None)))
    batches = [pad(windows)[:2] for windows in parts[1].batches(batch)]
    with routing_reader(model) as read_routing:
        forward = _cpu(lambda: [read_routing(*windows) for windows in batches])
    sizes = {name: (folder / name).stat().st_size / tokens for name in names}
    grouped = sum(size for name, size in sizes.items() if name.startswith(("routing", "index")))
    return {
        "all_us": everything / tokens * 1e6,
        "forward_us": forward / tokens * 1e6,
        "group_bytes": grouped,
        "token_bytes": sum(sizes.values()) - grouped,
        "totals": totals,
    }


def _give(_: Part, total: Totals) -> tuple[float, Totals]:
    return time.time(), total


def _measure_ray(total: Totals) -> dict[str, float]:
    """Seconds until a new local cluster gives its first result, and milliseconds until it gives the next ones: the
    totals of one group, from one worker that has nothing else to do. By the clock on the wall."""
    ids = [Document(0, LABELS[0], None, None, None, np.zeros(1, np.int32), None, False, 1)]
    parts = [Part(n, ids, n, n, LABELS, {"context": 1, "keep_routing": 1.0}, False) for n in range(RAY_PARTS)]
    begun, ends = time.time(), []
    for _ in read_on_cluster(parts, partial(_give, total=total), "local", 1, lambda: None):
        ends.append(time.time())
    return {"ray_start_s": ends[0] - begun, "ray_part_ms": (ends[-1] - ends[0]) / (len(ends) - 1) * 1e3}


def compute(measured: dict[str, float]) -> dict[str, float]:
    """Figures for monet-vd-1.4B over 10 billion tokens, from the measured ones."""
    forward = LAST_ROUTER * measured["layer_us"] + GROUPS * measured["router_us"]
    keep = GROUPS * measured["keep_us"]
    hidden, experts, units = SHAPE["hidden_size"], SHAPE["moe_experts"], SHAPE["moe_dim"]
    experts_and_attention = 2 * hidden * experts * units + 4 * hidden**2  # multiplications a layer
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
    "layer_us": "µs a token: a layer without its router, one thread",
    "router_us": "µs a token and group: router, with the attention before the last one",
    "keep_us": "µs a token and group: statistics, examples, routing, index, compression",
    "group_bytes": "bytes a token and group: routing and its index",
    "token_bytes": "bytes a token: tokens and documents without text",
    "merge_ms": "ms a part and group: merging its totals",
    "save_ms": "ms a part and group: writing and hashing the totals so far",
    "state_bytes": "bytes of a group's totals",
    "ray_start_s": "s until a new local cluster gives its first part, wall",
    "ray_part_ms": "ms a part and group: its totals through Ray, wall",
    "tokens_s_core": "tokens/s a core, all kept",
    "forward_share": "of that, the model's own share",
    "core_hours": "core hours in all",
    "keep_core_hours": "of them, for keeping what experts did",
    "gflop_token": "GFLOP a token up to the last router",
    "gpu_hours": f"GPU hours of the pass, at an assumed {GPU_FLOPS / 1e12:g} TFLOP/s",
    "terabytes": "TB of the run, all routing kept",
    "terabytes_tokens_only": "TB of it with --keep-routing none",
    "totals_gigabytes": "GB of totals: the driver's, and what a part sends back",
    "worker_gigabytes": "GB of memory a worker: the model in float32, and totals",
    "driver_part_s": "s of the driver a part: merging and saving six groups",
}


def _lines(title: str, figures: dict[str, float], names: Iterable[str]) -> str:
    return "\n".join([title, *(f"  {figures[n]:>14,.4g}  {_WORDS[n]}" for n in names if n in figures)])


def main(argv: list[str] | None = None) -> None:
    """Prints both tables, or one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m workbench.bench.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--tokens", type=int, default=TOKENS, help=f"tokens to measure with ({TOKENS})")
    options = parser.parse_args(argv)
    if options.tokens < 1 or options.tokens % min(256, options.tokens):
        parser.error("--tokens must be 1 to 256 or a multiple of 256")
    torch.set_num_threads(1)
    keep_heap()
    measured = measure(options.tokens)
    computed = compute(measured)
    if options.json:
        print(json.dumps({"measured": measured, "computed": computed}, indent=2))
        return
    print(_lines(f"Measured, {options.tokens} tokens of random models of the 1.4B shape", measured, _WORDS))
    print(_lines(f"Computed for monet-vd-1.4B over {CORPUS:,} tokens", computed, _WORDS))
    for size in PARTS:
        hours, cores = computed[f"driver_hours_{size}"], computed[f"most_cores_{size}"]
        print(f"  parts of {size:,} tokens: {hours:,.3g} hours of the driver; it keeps up with {cores:,.3g} cores")


if __name__ == "__main__":
    main()
