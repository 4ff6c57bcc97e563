"""`python -m monet_model.bench [--json]`: the forward pass plain, edited and hooked, beside the formulas it replaces.

Random weights, CPU, one thread, evaluation. Two shapes: the demo model (hidden 128, 4 layers in groups of 2, 512 keys,
2 heads, k 8, 8 x 128 tokens) and one layer, router and experts, of the 1.4B model (hidden 2048, 512 keys, 8 heads,
k 32). Processor time, cases taken in turn, median; memory is the peak of tensors alive, beyond those there before.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from copy import deepcopy
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from .config import MonetConfig
from .experts import VerticalExperts, relu2
from .lens import load_lens
from .modeling import MonetForCausalLM
from .router import MonetRouter

DEMO: dict[str, Any] = {
    "vocab_size": 4096, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "moe_dim": 4,
    "moe_heads": 2, "moe_experts": 512, "moe_topk": 8, "moe_groups": 2,
}  # fmt: skip
LARGE: dict[str, Any] = {
    "vocab_size": 8, "hidden_size": 2048, "num_hidden_layers": 1, "num_attention_heads": 16, "moe_dim": 16,
    "moe_heads": 8, "moe_experts": 512, "moe_topk": 32, "moe_groups": 1,
}  # fmt: skip
PLAIN, EDITED, EXPANDED, FORMULAS, HOOKED = (
    "plain",
    "edited",
    "all pairs written out",
    "authors' formulas",
    "every hook cached",
)


class FormulaRouter(nn.Module):
    """The router as the paper writes it (section 3), dense throughout."""

    def __init__(self, router: MonetRouter) -> None:
        super().__init__()
        self.router = router

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        router = self.router

        def side(w: nn.Linear, norm: nn.Module) -> Tensor:
            z = w(x).unflatten(-1, (router.heads, router.keys)).float()
            n = norm(z.flatten(0, -3)).view(z.shape)
            threshold = n.amax(-1, keepdim=True).clamp(max=router.sigma)
            return torch.where(n >= threshold, z, float("-inf")).softmax(-1)

        return side(router.w1, router.norm1), side(router.w2, router.norm2)


class FormulaExperts(nn.Module):
    """Vertical experts as the paper writes them: one einsum a term (section 3)."""

    def __init__(self, moe: VerticalExperts) -> None:
        super().__init__()
        self.moe = moe

    def forward(self, x: Tensor, g1: Tensor, g2: Tensor, *_: Any) -> Tensor:
        moe, einsum = self.moe, torch.einsum
        a1 = relu2(moe.u1(x)).unflatten(-1, (moe.keys, -1))
        a2 = relu2(moe.u2(x)).unflatten(-1, (moe.keys, -1))
        left = moe.v11(einsum("...im,...hi->...im", a1, g1).flatten(-2))
        left = left + moe.v12(einsum("...jm,...hj,...hi->...im", a2, g2, g1).flatten(-2))
        right = moe.v21(einsum("...im,...hi,...hj->...jm", a1, g1, g2).flatten(-2))
        right = right + moe.v22(einsum("...jm,...hj->...jm", a2, g2).flatten(-2))
        left, right = left + einsum("...hi,id->...d", g1, moe.b1), right + einsum("...hj,jd->...d", g2, moe.b2)
        return torch.cat([left, right], -1)


def expanded(moe: VerticalExperts, x: Tensor, g1: Tensor, g2: Tensor, factors: Tensor) -> Tensor:
    """Edited output (tokens, hidden) with every expert's weight written out, one token, (keys, keys), at a time."""
    a1, a2 = moe.hidden(x)
    to1, to2 = [], []
    for t in range(len(x)):
        weight = (g1[t].T @ g2[t]) * factors
        to1.append(torch.cat([a2[t] @ weight.T, weight.sum(1)[None]]))
        to2.append(torch.cat([a1[t] @ weight, weight.sum(0)[None]]))
    return moe.combine_spread(a1, a2, torch.stack(to1), torch.stack(to2))


def settled(config: MonetConfig, spread: float) -> MonetForCausalLM:
    """A random model whose router logits have a standard deviation of about ``spread``, with statistics to match."""
    torch.manual_seed(0)
    model = MonetForCausalLM(config).eval()
    with torch.no_grad():
        for router in (layer.router for layer in model.model.layers if layer.router is not None):
            for w, norm in ((router.w1, router.norm1), (router.w2, router.norm2)):
                w.weight.normal_(std=spread * config.hidden_size**-0.5)
                norm.running_var.fill_(spread**2)
    return model


def demo_cases() -> tuple[int, dict[str, Callable[[], object]]]:
    """Tokens, and what is timed on the demo model, whole."""
    model = settled(MonetConfig(**DEMO), 1.0)
    ids = torch.randint(0, DEMO["vocab_size"], (8, 128))
    edits = {layer: torch.rand(512, 512) for layer in (0, 2)}
    formulas = deepcopy(model)
    for layer in formulas.model.layers:
        layer.router, layer.moe = layer.router and FormulaRouter(layer.router), FormulaExperts(layer.moe)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        lens = load_lens(folder, device="cpu")

    def edited() -> object:
        with model.edit_experts(edits):
            return model(ids)

    return ids.numel(), {
        PLAIN: lambda: model(ids),
        EDITED: edited,
        FORMULAS: lambda: formulas(ids),
        HOOKED: lambda: lens.run_with_cache(ids),
    }


def large_cases(tokens: int) -> dict[str, Callable[[], object]]:
    """What is timed on the layer of the 1.4B model."""
    model = settled(MonetConfig(**LARGE), 1.0)
    layer = model.model.layers[0]
    router, moe = cast(MonetRouter, layer.router), cast(VerticalExperts, layer.moe)
    formula_router, formula_experts = FormulaRouter(router), FormulaExperts(moe)
    x, factors = torch.randn(tokens, LARGE["hidden_size"]), torch.rand(512, 512)

    def all_pairs() -> object:
        g1, g2 = router(x)
        return expanded(moe, x, g1, g2, factors)

    return {
        PLAIN: lambda: moe(x, *router(x)),
        EDITED: lambda: moe(x, *router(x), factors),
        EXPANDED: all_pairs,
        FORMULAS: lambda: formula_experts(x, *formula_router(x)),
    }


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes of tensors alive at once in a run."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


@torch.no_grad()
def measure(cases: dict[str, Callable[[], object]], tokens: int, repeats: int) -> dict[str, dict[str, float]]:
    """By case: microseconds and peak kilobytes a token, and both as shares of the plain case's."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for run in cases.values():
        run()
    for _ in range(repeats):
        for name, run in cases.items():
            start = process_time()
            run()
            times[name].append(1e6 * (process_time() - start) / tokens)
    rows = {
        name: {"microseconds": median(times[name]), "kilobytes": peak_bytes(run) / 1e3 / tokens}
        for name, run in cases.items()
    }
    for row in rows.values():
        row |= {f"{unit} / plain": row[unit] / rows[PLAIN][unit] for unit in ("microseconds", "kilobytes")}
    return rows


def main(argv: list[str] | None = None) -> None:
    """Prints the tables, or one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m monet_model.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds (9)")
    parser.add_argument("--tokens", type=int, default=256, help="tokens through the layer of the 1.4B model (256)")
    options = parser.parse_args(argv)
    if options.repeats < 1 or options.tokens < 1:
        parser.error("--repeats and --tokens must be at least 1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tokens, cases = demo_cases()
        tables = {
            "demo model": measure(cases, tokens, options.repeats),
            "layer of 1.4B": measure(large_cases(options.tokens), options.tokens, max(1, options.repeats // 3)),
        }
    finally:
        torch.set_num_threads(threads)
    if options.json:
        print(json.dumps({"torch": torch.__version__, "threads": 1, "a token": tables}, indent=2))
        return
    for shape, table in tables.items():
        print(f"\n{shape:<22}{'us/token':>12}{'/ plain':>10}{'peak kB/token':>16}{'/ plain':>10}")
        for name, row in table.items():
            us, kb, slower, larger = row.values()
            print(f"{name:<22}{us:>12.1f}{slower:>10.2f}{kb:>16.1f}{larger:>10.2f}")


if __name__ == "__main__":
    main()
