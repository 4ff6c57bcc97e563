"""`python -m cuda_ext.bench [--json]`: every op beside the formulas it replaces, in one process on one thread.

2,048 tokens, 8 heads, 512 keys, 32 active on average, 8 units: 33.5 MB of logits, and as much of activations per key
set. Dense formulas allocate arrays of that size and can spend most of their time on page faults, so everything is timed
twice: with the default malloc, and with a malloc that keeps freed memory (glibc only). Ratios compare within one of the
two. The time is the thread's processor time, which other processes disturb less than wall time; with `--device cuda` it
is GPU time, over several inputs in rotation, so that the GPU's cache does not hold them.

The floor of a row is the time to read its op's inputs and write its outputs once (the MB column), at the speed of a
copy that is timed beside it. `accumulate` reads and writes the statistics of every active expert.

``--instruction-sets`` also times `route` with the code of each lower instruction set that this processor has: what an
older one runs, at this one's clock, caches and memory. PyTorch's own functions keep the widest set.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist, median
from time import thread_time
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from . import library
from .ops.accumulate import STATE, Statistics, accumulate
from .ops.contributions import contributions
from .ops.mix import mix
from .ops.route import route
from .reference.accumulate import accumulate_reference
from .reference.contributions import contributions_reference
from .reference.mix import mix_horizontal_reference, mix_vertical_backward_reference, mix_vertical_reference
from .reference.pairs import active_pairs
from .reference.route import EPS

TOKENS, FEW_TOKENS, HEADS, KEYS, TOPK, UNITS, LABELS, BEST = 2048, 32, 8, 512, 32, 8, 7, 20
COPY = "copy of as many bytes as the logits"
SLOW_MS = 400.0  # slower cases are timed three times only

# glibc's mallopt: serve large blocks from the heap, never give the heap back.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@dataclass
class Case:
    """A case to time; ``against`` names the op that its time is divided by, ``bytes`` is what that op must move."""

    name: str
    run: Callable[[], object]
    against: str
    bytes: int = 0  # set in the op's own row only


def formula(logits: Tensor, mean: Tensor, var: Tensor, sigma: float) -> Tensor:
    """Route with the paper's formula: batch normalisation, maximum, mask and softmax over the dense array."""
    normalised = torch.nn.functional.batch_norm(logits, mean, var, eps=EPS)
    threshold = normalised.amax(-1, keepdim=True).clamp(max=sigma)
    return torch.where(normalised >= threshold, logits, float("-inf")).softmax(-1)


def dense_sums(a1: Tensor, a2: Tensor, g1: Tensor, g2: Tensor) -> tuple[Tensor, ...]:
    """Return the sums of vertical experts from dense routing by matrix products; activations (tokens, units, keys)."""
    rows, columns = (g1 * g2.sum(-1, keepdim=True)).sum(-2), (g2 * g1.sum(-1, keepdim=True)).sum(-2)
    cross1, cross2 = (a2 @ g2.mT) @ g1, (a1 @ g1.mT) @ g2
    return rows[:, None] * a1, cross1, rows, cross2, columns[:, None] * a2, columns


def compiled_formula() -> Callable[..., Tensor]:
    """Return ``formula`` compiled by `torch.compile`."""
    return torch.compile(formula)


def size(*tensors: Tensor) -> int:
    """Return the bytes that tensors occupy."""
    return sum(t.numel() * t.element_size() for t in tensors)


def lower_levels() -> range:
    """Return the levels of the CPU kernels below the one that runs, as `library.INSTRUCTION_SETS` numbers them."""
    return range(torch.ops.monet.best_level())


def cases(device: str, seed: int = 0, levels: Sequence[int] = ()) -> Iterator[Case]:
    """Yield all cases: each op, then what it replaces; `route` also with the code of other ``levels``."""
    torch.manual_seed(seed)
    logits = torch.randn(TOKENS, HEADS, KEYS, device=device)
    mean, var = logits.mean((0, 2)), logits.var((0, 2))
    sigma = NormalDist().inv_cdf(1 - TOPK / KEYS)
    first = route(logits, mean, var, sigma)
    second = route(torch.randn_like(logits), mean, var, sigma)
    names = ("indices1", "probs1", "counts1", "indices2", "probs2", "counts2")
    arrays = dict(zip(names, (*first, *second), strict=True))
    routing = SimpleNamespace(**arrays, num_keys=KEYS)
    few = SimpleNamespace(**{name: t[:FEW_TOKENS].contiguous() for name, t in arrays.items()}, num_keys=KEYS)
    lists = size(*arrays.values())
    target, compiled = torch.empty_like(logits), compiled_formula()

    def topk() -> tuple[Tensor, Tensor]:
        values, indices = torch.topk(logits, TOPK)
        return values.softmax(-1), indices

    yield Case(COPY, lambda: target.copy_(logits), COPY, 2 * size(logits))
    yield Case("route", lambda: route(logits, mean, var, sigma), "route", size(logits, *first))
    for level in levels:
        name = f"  with the code of {library.INSTRUCTION_SETS[level]}"
        yield Case(name, partial(torch.ops.monet.route_kernel, logits, mean, var, sigma, level), "route")
    yield Case("  authors' formula, dense", lambda: formula(logits, mean, var, sigma), "route")
    yield Case("  torch.compile of it", lambda: compiled(logits, mean, var, sigma), "route")
    yield Case(f"  torch.topk({TOPK}) + softmax", topk, "route")
    yield Case("  reading the logits once", logits.sum, "route")

    a1, a2 = (torch.rand(TOKENS, KEYS, UNITS, device=device) for _ in range(2))
    b1, b2 = a1.mT.contiguous(), a2.mT.contiguous()
    factors = torch.rand(KEYS, KEYS, device=device)
    g1, g2 = (
        torch.zeros_like(logits).scatter_(-1, indices.long(), probs)
        for indices, probs in ((first[0], first[1]), (second[0], second[1]))
    )
    moved = size(a1, a2) * 3 + lists + 2 * TOKENS * KEYS * 4
    yield Case("mix, vertical", lambda: mix((a1, a2), routing), "mix, vertical", moved)
    yield Case("  dense routing, matrix products", lambda: dense_sums(b1, b2, g1, g2), "mix, vertical")
    plain: Callable[..., object] = mix_vertical_reference
    yield Case("  definition in PyTorch", lambda: plain(a1, a2, *arrays.values(), None), "mix, vertical")
    edited = "mix, vertical, with factors"
    yield Case(edited, lambda: mix((a1, a2), routing, factors), edited, moved + size(factors))
    yield Case("  definition in PyTorch", lambda: plain(a1, a2, *arrays.values(), factors), edited)
    grads, learned = mix((a1, a2), routing), "mix, vertical, gradients"
    backward = torch.ops.monet.mix_vertical_backward
    by_hand: Callable[..., object] = mix_vertical_backward_reference
    to_probs = size(routing.probs1, routing.probs2)
    flow = size(*grads) + size(a1, a2) * 2 + lists + to_probs
    yield Case(learned, lambda: backward(*grads, a1, a2, *arrays.values(), None), learned, flow)
    yield Case("  definition in PyTorch", lambda: by_hand(*grads, a1, a2, *arrays.values(), None), learned)
    horizontal = size(a1) * 2 + lists + TOKENS * KEYS * 4
    yield Case("mix, horizontal", lambda: mix(a1, routing), "mix, horizontal", horizontal)
    one_set: Callable[..., object] = mix_horizontal_reference
    yield Case("  definition in PyTorch", lambda: one_set(a1, *arrays.values(), None), "mix, horizontal")

    def counting(lists: SimpleNamespace, plain: bool) -> Callable[[], None]:
        state = Statistics.empty(KEYS, HEADS, LABELS, best=BEST, per_document=2, device=device)
        rows = torch.arange(len(lists.counts1), device=device)
        labels, starts = rows // 300 % LABELS, rows // 300 * 300

        def run() -> None:
            at = state.next_row
            if not plain:
                return accumulate(state, lists, labels, rows + at, starts + at)
            parts = [getattr(state, name) for name in STATE]
            inputs = [getattr(lists, name) for name in names]
            where = (labels, rows + at, starts + at, rows)
            accumulate_reference(*parts, *inputs, *where, KEYS, state.top, 2)  # type: ignore[call-arg]  # a list has no length in its type
            state.next_row += len(rows)
            return None

        return run

    of_expert = 2 * (16 + 8 + 12 * BEST)  # two counts of a label, a bin and the list, read and written
    yield Case("accumulate", counting(routing, plain=False), "accumulate", lists + KEYS**2 * of_expert)
    short, inputs = f"accumulate, {FEW_TOKENS} tokens", [getattr(few, name) for name in names]
    touched = len(active_pairs(*inputs, KEYS)[1].unique())  # type: ignore[call-arg]  # as above
    yield Case(short, counting(few, plain=False), short, size(*inputs) + touched * of_expert)
    yield Case("  definition in PyTorch", counting(few, plain=True), short)

    d = [torch.randn(1, KEYS, UNITS, device=device) for _ in range(4)]
    c = [torch.randn(1, KEYS, device=device) for _ in range(2)]
    hidden = (a1[:FEW_TOKENS], a2[:FEW_TOKENS])
    top = f"contributions, {FEW_TOKENS} tokens, top 50"
    must = size(*hidden, *inputs, *d, *c) + FEW_TOKENS * 50 * 12
    yield Case(top, lambda: contributions(hidden, few, (*d, *c), 50), top, must)
    by_definition: Callable[..., object] = contributions_reference
    yield Case("  definition in PyTorch", lambda: by_definition(*hidden, *inputs, None, *d, *c, 50), top)


def timed(run: Callable[[], object], device: str) -> float:
    """Return the milliseconds of one run."""
    if device == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end)
    start = thread_time()
    run()
    return 1e3 * (thread_time() - start)


def measure(repeats: int, device: str, levels: Sequence[int] = ()) -> dict[str, dict[str, Any]]:
    """Return rows by name: least and median milliseconds, ratio to the op, floor. An op and its rivals take turns."""
    sets = [list(cases(device, seed, levels)) for seed in range(4 if device == "cuda" else 1)]
    groups: dict[str, list[int]] = {}
    for at, case in enumerate(sets[0]):
        groups.setdefault(case.against, []).append(at)
    rows: dict[str, dict[str, Any]] = {}
    speed = 0.0
    with torch.inference_mode():
        for against, members in groups.items():
            times: dict[int, list[float]] = {at: [] for at in members}
            for at in members:
                sets[0][at].run()
            for turn in range(repeats):
                for at in members:
                    if turn < 3 or times[at][0] < SLOW_MS:
                        times[at].append(timed(sets[turn % len(sets)][at].run, device))
            ours = median(times[members[0]])
            for at in members:
                case = sets[0][at]
                middle = median(times[at])
                must = sets[0][members[0]].bytes
                speed = must / middle if case.name == COPY else speed
                name = case.name if not case.name.startswith(" ") else f"{against}:{case.name[1:]}"
                rows[name] = {
                    "op": against,
                    "least_ms": min(times[at]),
                    "median_ms": middle,
                    "ratio": middle / ours,
                    "floor_bytes": must,
                    "floor_ms": must / speed,
                    "of_floor": must / speed / middle,
                }
    return rows


def keep_heap() -> bool:
    """Make glibc's malloc keep freed memory; return False if there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def main(argv: list[str] | None = None) -> None:
    """Print the table, or one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m cuda_ext.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds per allocator (15)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to run (cpu)")
    parser.add_argument(
        "--instruction-sets", action="store_true", help="also time route with the code of lower instruction sets"
    )
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU")
    if options.instruction_sets and (options.device != "cpu" or not library.CPU.loaded):
        parser.error("--instruction-sets are those of the compiled CPU kernels; see python -m cuda_ext")
    levels = lower_levels() if options.instruction_sets else ()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if options.device == "cuda":
            where, tables = torch.cuda.get_device_name(), {"GPU": measure(options.repeats, "cuda")}
        else:
            where, tables = library.backend(), {"default malloc": measure(options.repeats, "cpu", levels)}
            if keep_heap():
                tables["heap kept"] = measure(options.repeats, "cpu", levels)
    finally:
        torch.set_num_threads(threads)
    shape = {"tokens": TOKENS, "heads": HEADS, "keys": KEYS, "topk": TOPK, "units": UNITS, "threads": 1}
    if options.json:
        print(json.dumps({"torch": torch.__version__, "backend": where, **shape, "milliseconds": tables}, indent=2))
        return
    print(f"{TOKENS} tokens, {HEADS} heads, {KEYS} keys, k {TOPK}; one thread; {where}; torch {torch.__version__}")
    for allocator, table in tables.items():
        print(f"\n{allocator:<56}{'least ms':>10}{'median ms':>11}{'x op':>8}{'MB':>9}{'floor ms':>10}{'of floor':>10}")
        for name, row in table.items():
            took = f"{row['least_ms']:>10.2f}{row['median_ms']:>11.2f}{row['ratio']:>8.2f}"
            print(f"{name:<56}{took}{row['floor_bytes'] / 1e6:>9.1f}{row['floor_ms']:>10.2f}{row['of_floor']:>10.3f}")


if __name__ == "__main__":
    main()
