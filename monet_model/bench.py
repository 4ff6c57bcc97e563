"""`python -m monet_model.bench [--json]`: the forward pass plain, edited and hooked, beside the formulas it replaces.

Random weights, one thread of the processor or a GPU (`--device`, `--dtype`), evaluation mode. Two shapes: the whole
demo model (hidden 128, 4 layers in groups of 2, 512 keys, 2 heads, k 8, 8 x 128 tokens) and one layer, router and
experts, of the 1.4B model (hidden 2048, 512 keys, 8 heads, k 32). Cases, all on the same weights and tokens:

    plain               the model as it is
    edited              every expert scaled by a different factor
    without the ops     the plain forward on cuda_ext's PyTorch definitions, as in an installation without a compiler
    every hook cached   in TransformerLens, caching every activation
    authors' formulas   the paper's einsums and dense routing
      oneDNN's products the same, with the matrix products of `monet_model.projection`; float32 on a processor
      torch.compile     of the authors' formulas
    every expert        the edited output by explicit expansion: E_ij(x) of all 262,144 experts, one key at a time, so
                        that the working set stays in the cache; timed on a few tokens

Median processor time of cases taken in turn; on a GPU time by the clock, from when it is idle to when it has finished.
Memory is the peak of tensors allocated during the run, as torch's profiler or the GPU's allocator counts them; the
edit's extra memory is that of an edited over a plain forward of the few tokens, as a share of the expansion's. The last
lines show where the plain forward spends its time, by operator.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, cast
from unittest import mock

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from cuda_ext import library
from cuda_ext.routing import Routing

from . import projection
from .config import MonetConfig
from .device import DTYPES, device_name, read_device, read_dtype, synchronize
from .experts import VerticalExperts
from .lens import load_lens
from .modeling import MonetForCausalLM
from .router import HeadNorm, MonetRouter, head_thresholds, select_keys

DEMO: dict[str, Any] = {
    "vocab_size": 4096, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "moe_dim": 4,
    "moe_heads": 2, "moe_experts": 512, "moe_topk": 8, "moe_groups": 2,
}  # fmt: skip
LARGE: dict[str, Any] = {
    "vocab_size": 8, "hidden_size": 2048, "num_hidden_layers": 1, "num_attention_heads": 16, "moe_dim": 16,
    "moe_heads": 8, "moe_experts": 512, "moe_topk": 32, "moe_groups": 1,
}  # fmt: skip
FEW_TOKENS = 4  # for the explicit expansion
CPU, PUBLISHED = torch.device("cpu"), torch.bfloat16  # the precision of published checkpoints
(PLAIN, EDITED, DEFINITIONS, HOOKED, FORMULAS, PRODUCTS, COMPILED, EXPANDED, FEW_PLAIN, FEW_EDITED) = (
    "plain",
    "edited",
    "without the ops",
    "every hook cached",
    "authors' formulas",
    "  oneDNN's products",
    "  torch.compile of them",
    "every expert",
    "plain, few tokens",
    "edited, few tokens",
)


@dataclass
class Case:
    """A case to time, and the number of tokens that it processes."""

    run: Callable[[], object]
    tokens: int


class FormulaRouter(nn.Module):
    """The router by the paper's formula (section 3), dense: returns g1 and g2 instead of a `Routing`."""

    def __init__(self, router: MonetRouter) -> None:
        super().__init__()
        self.router = router

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        router = self.router

        def side(z: Tensor, norm: HeadNorm) -> Tensor:
            statistics = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
            n = nn.functional.batch_norm(z.flatten(0, -3), *statistics, eps=norm.eps).view(z.shape)
            return select_keys(z, n, head_thresholds(n, router.sigma))

        z1, z2 = router.logits(x)
        return side(z1, router.norm1), side(z2, router.norm2)


class FormulaExperts(nn.Module):
    """Vertical experts by the paper's formulas (section 3), one einsum per term."""

    def __init__(self, moe: VerticalExperts) -> None:
        super().__init__()
        self.moe = moe

    def forward(self, x: Tensor, routing: tuple[Tensor, Tensor], _factors: None = None) -> Tensor:
        moe, einsum, project = self.moe, torch.einsum, projection.project
        g1, g2 = (g.to(x.dtype) for g in routing)
        a1 = torch.relu(project(moe.u1, x)).square().unflatten(-1, (moe.keys, -1))
        a2 = torch.relu(project(moe.u2, x)).square().unflatten(-1, (moe.keys, -1))
        left = project(moe.v11, einsum("...im,...hi->...im", a1, g1).flatten(-2))
        left = left + project(moe.v12, einsum("...jm,...hj,...hi->...im", a2, g2, g1).flatten(-2))
        right = project(moe.v21, einsum("...im,...hi,...hj->...jm", a1, g1, g2).flatten(-2))
        right = right + project(moe.v22, einsum("...jm,...hj->...jm", a2, g2).flatten(-2))
        left, right = left + einsum("...hi,id->...d", g1, moe.b1), right + einsum("...hj,jd->...d", g2, moe.b2)
        return torch.cat([left, right], -1)


class EveryExpert(nn.Module):
    """Edited vertical experts by explicit expansion: all experts of one key at a time, per token."""

    def __init__(self, moe: VerticalExperts) -> None:
        super().__init__()
        self.moe = moe

    def forward(self, x: Tensor, routing: Routing, factors: Tensor) -> Tensor:
        moe = self.moe
        first, second = moe.hidden(x.flatten(0, -2))
        v11, v12, v21, v22 = (v.weight.unflatten(-1, (moe.keys, -1)) for v in (moe.v11, moe.v12, moe.v21, moe.v22))
        out = []
        for a1, a2, g1, g2 in zip(first, second, *routing.dense(), strict=True):
            weight = ((g1.T @ g2) * factors).to(x.dtype)  # S[i, j] G[i, j]
            left, right = x.new_zeros(2, len(moe.b1[0]))
            for key in range(moe.keys):
                halves = a2 @ v12[:, key].T + (v11[:, key] @ a1[key] + moe.b1[key])  # left halves of E_{key, j}
                left += weight[key] @ halves
                halves = a1 @ v21[:, key].T + (v22[:, key] @ a2[key] + moe.b2[key])  # right halves of E_{i, key}
                right += weight[:, key] @ halves
            out.append(torch.cat([left, right]))
        return torch.stack(out).view(x.shape)


@contextmanager
def pytorch_products() -> Iterator[None]:
    """Compute every projection with PyTorch's own product while the context is active."""
    with mock.patch.object(projection, "MIN_TOKENS", sys.maxsize):
        yield


@contextmanager
def definitions() -> Iterator[None]:
    """Run as if the compiled kernels had not been built while the context is active."""
    none = library.Library(None, "left out of a benchmark")
    with mock.patch.multiple(library, CPU=none, CUDA=none), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def within(context: Callable[[], Any], run: Callable[[], object]) -> Callable[[], object]:
    """Return a function that calls ``run`` inside a context."""

    def inside() -> object:
        with context():
            return run()

    return inside


def compiled(module: nn.Module) -> Callable[..., Any]:
    """Return a module compiled by `torch.compile`."""
    return torch.compile(module)


def has_onednn(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether `monet_model.projection` multiplies with oneDNN there."""
    return device.type == "cpu" and dtype == torch.float32


def settled(config: MonetConfig, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> MonetForCausalLM:
    """Return a random model whose raw router logits deviate by about 1, with statistics to match, placed as asked."""
    torch.manual_seed(0)
    model = MonetForCausalLM(config).eval()
    with torch.no_grad():
        for router in (layer.router for layer in model.model.layers if layer.router is not None):
            for w, norm in ((router.w1, router.norm1), (router.w2, router.norm2)):
                w.weight.normal_(std=config.hidden_size**-0.5)
                norm.running_var.fill_(1.0)
    moved: nn.Module = model  # `to` of transformers' models has a type that no argument fits
    moved.to(device=device, dtype=dtype)
    return model


def bridge(model: MonetForCausalLM) -> Any:
    """Return the model as loaded into TransformerLens."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_lens(folder, device=str(model.device), dtype=model.dtype)


def demo_cases(device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> dict[str, Case]:
    """Return the cases for the whole demo model."""
    model = settled(MonetConfig(**DEMO), device, dtype)
    ids = torch.randint(0, DEMO["vocab_size"], (8, 128)).to(device)
    edits = {layer: torch.rand(DEMO["moe_experts"], DEMO["moe_experts"]).to(device) for layer in (0, 2)}
    formulas, written_out, lens = deepcopy(model), deepcopy(model), bridge(model)
    for layer in formulas.model.layers:
        layer.router, layer.moe = layer.router and FormulaRouter(layer.router), FormulaExperts(layer.moe)
    for layer in written_out.model.layers:
        layer.moe = EveryExpert(layer.moe)
    few, as_one = ids[:1, :FEW_TOKENS], compiled(formulas)
    products = {PRODUCTS: Case(lambda: formulas(ids), ids.numel())}
    return {
        PLAIN: Case(lambda: model(ids), ids.numel()),
        EDITED: Case(within(lambda: model.edit_experts(edits), lambda: model(ids)), ids.numel()),
        DEFINITIONS: Case(within(definitions, lambda: model(ids)), ids.numel()),
        HOOKED: Case(lambda: lens.run_with_cache(ids), ids.numel()),
        FORMULAS: Case(within(pytorch_products, lambda: formulas(ids)), ids.numel()),
        **(products if has_onednn(device, dtype) else {}),
        COMPILED: Case(lambda: as_one(ids), ids.numel()),
        EXPANDED: Case(within(lambda: written_out.edit_experts(edits), lambda: written_out(few)), FEW_TOKENS),
        FEW_PLAIN: Case(lambda: model(few), FEW_TOKENS),
        FEW_EDITED: Case(within(lambda: model.edit_experts(edits), lambda: model(few)), FEW_TOKENS),
    }


def large_cases(tokens: int, device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> dict[str, Case]:
    """Return the cases for one layer of the 1.4B model."""
    model = settled(MonetConfig(**LARGE), device, dtype)
    layer = model.model.layers[0]
    router, moe = cast(MonetRouter, layer.router), cast(VerticalExperts, layer.moe)
    formula_router, formula_experts, written_out = FormulaRouter(router), FormulaExperts(moe), EveryExpert(moe)
    x = torch.randn(1, tokens, LARGE["hidden_size"]).to(device, dtype)
    factors = torch.rand(LARGE["moe_experts"], LARGE["moe_experts"]).to(device)
    lens, few = bridge(model), x[:, :FEW_TOKENS]
    block = lens.blocks[0]
    cache: dict[str, Tensor] = {}
    names = [name for name in lens.hook_dict if name.startswith(("blocks.0.router.", "blocks.0.mlp."))]
    hooks = [(name, lambda value, hook: cache.__setitem__(hook.name, value)) for name in names]

    def hooked() -> object:
        with lens.hooks(fwd_hooks=hooks):
            return block.mlp(x, block.router(x))

    def formulas() -> object:
        return formula_experts(x, formula_router(x))

    router_as_one, experts_as_one = compiled(formula_router), compiled(formula_experts)

    return {
        PLAIN: Case(lambda: moe(x, router(x)), tokens),
        EDITED: Case(lambda: moe(x, router(x), factors), tokens),
        DEFINITIONS: Case(within(definitions, lambda: moe(x, router(x))), tokens),
        HOOKED: Case(hooked, tokens),
        FORMULAS: Case(within(pytorch_products, formulas), tokens),
        **({PRODUCTS: Case(formulas, tokens)} if has_onednn(device, dtype) else {}),
        COMPILED: Case(lambda: experts_as_one(x, router_as_one(x)), tokens),
        EXPANDED: Case(lambda: written_out(few, router(few), factors), FEW_TOKENS),
        FEW_PLAIN: Case(lambda: moe(few, router(few)), FEW_TOKENS),
        FEW_EDITED: Case(lambda: moe(few, router(few), factors), FEW_TOKENS),
    }


def peak_bytes(run: Callable[[], object], device: torch.device = CPU) -> int:
    """Return the peak bytes of tensors that a run allocates on the processor or a CUDA device."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def shares(run: Callable[[], object], device: torch.device = CPU, n: int = 6) -> dict[str, float]:
    """Return the ``n`` operators that take most of a run's processor or GPU time, as shares of it."""
    there = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * there]) as profiler:
        run()
        synchronize(device)
    operators = [row for row in profiler.key_averages() if row.device_type.name == "CPU"]  # the others are kernels
    times = {row.key: row.self_device_time_total if there else row.self_cpu_time_total for row in operators}
    total = sum(times.values())
    return {name: times[name] / total for name in sorted(times, key=lambda name: -times[name])[:n]}


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Return the microseconds of one run: of the processor, or on a GPU by the clock until it has finished."""
    clock = process_time if device.type == "cpu" else perf_counter
    synchronize(device)
    start = clock()
    run()
    synchronize(device)
    return 1e6 * (clock() - start)


@torch.no_grad()
def measure(cases: dict[str, Case], repeats: int, device: torch.device = CPU) -> dict[str, Any]:
    """Return microseconds and peak kilobytes per token of each case, ratios, and the time by operator."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case.run()
    for turn in range(repeats):
        for name, case in cases.items():
            if name == EXPANDED and turn:
                continue  # slow enough to be timed once
            times[name].append(timed(case.run, device) / case.tokens)
    us = {name: median(taken) for name, taken in times.items()}
    kilobytes = {name: peak_bytes(case.run, device) / 1e3 / case.tokens for name, case in cases.items()}
    ratios = {
        "time: edited / plain": us[EDITED] / us[PLAIN],
        "time: without the ops / plain": us[DEFINITIONS] / us[PLAIN],
        "time: every expert / plain": us[EXPANDED] / us[PLAIN],
        "time: formulas / plain": us[FORMULAS] / us[PLAIN],
        "time: formulas, torch.compile / plain": us[COMPILED] / us[PLAIN],
        "time: formulas / every hook cached": us[FORMULAS] / us[HOOKED],
        "memory: plain / formulas": kilobytes[PLAIN] / kilobytes[FORMULAS],
        "memory: edit's extra / every expert": (kilobytes[FEW_EDITED] - kilobytes[FEW_PLAIN]) / kilobytes[EXPANDED],
    }
    if PRODUCTS in us:
        ratios["time: formulas, oneDNN's products / plain"] = us[PRODUCTS] / us[PLAIN]
    rows = {name: {"microseconds": us[name], "kilobytes": kilobytes[name]} for name in cases}
    return {"a token": rows, "ratios": ratios, "shares of plain": shares(cases[PLAIN].run, device)}


def main(argv: list[str] | None = None) -> None:
    """Print the tables, or one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m monet_model.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds (9)")
    parser.add_argument("--tokens", type=int, default=256, help="tokens for the layer of the 1.4B model (256)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one")
    which = ", ".join(DTYPES)
    parser.add_argument("--dtype", default="auto", help=f"{which}; auto is float32, or bfloat16 on a GPU")
    options = parser.parse_args(argv)
    if options.repeats < 1 or options.tokens < 1:
        parser.error("--repeats and --tokens must be at least 1")
    try:
        device = read_device(options.device)
        dtype = read_dtype(options.dtype, device, PUBLISHED)
    except (ValueError, RuntimeError) as error:
        parser.error(str(error))
    if device.type == "mps":
        parser.error("--device mps: peak memory is measured on cpu and cuda only")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tables = {
            "demo model": measure(demo_cases(device, dtype), options.repeats, device),
            "layer of 1.4B": measure(large_cases(options.tokens, device, dtype), max(1, options.repeats // 3), device),
        }
    finally:
        torch.set_num_threads(threads)
    kernels = library.backend() if device.type == "cpu" else "cuda" if library.has_kernel(device) else "pytorch"
    about = {"torch": torch.__version__, "device": device_name(device), "dtype": str(dtype).removeprefix("torch.")}
    about["cuda_ext"] = kernels
    if options.json:
        print(json.dumps(about | {"threads": 1} | tables, indent=2))
        return
    print(f"{about['device']}, {about['dtype']}; kernels: {kernels}; one thread; torch {torch.__version__}")
    for shape, table in tables.items():
        print(f"\n{shape:<44}{'us/token':>10}{'peak kB/token':>16}")
        for name, row in table["a token"].items():
            print(f"{name:<44}{row['microseconds']:>10.1f}{row['kilobytes']:>16.1f}")
        for name, ratio in table["ratios"].items():
            print(f"{name:<44}{ratio:>10.3f}")
        print("plain: " + ", ".join(f"{name} {share:.0%}" for name, share in table["shares of plain"].items()))


if __name__ == "__main__":
    main()
