"""`python -m cuda_ext.bench [--json]`: routing side by side with what it replaces, in one process on one thread.

2,048 tokens, 8 heads, 512 keys, mean of 32 active: 33.5 MB of logits. The dense formula allocates arrays of that size,
and most of its time can be page faults, so everything is timed twice: with malloc as it comes, and with malloc told to
keep freed memory (glibc only). A ratio holds for one of the two.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable
from statistics import NormalDist, median
from time import perf_counter

import torch
from torch import Tensor

from .library import backend
from .reference import EPS
from .routing import route

TOKENS, HEADS, KEYS, TOPK = 2048, 8, 512, 32
SPARSE = "sparse route"

# glibc's mallopt: serve large blocks from the heap, never give the heap back.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def cases() -> dict[str, Callable[[], object]]:
    """What is timed, by name: each routes the same logits, or reads them once."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(TOKENS, HEADS, KEYS, generator=generator)
    mean, var = logits.mean((0, 2)), logits.var((0, 2))
    sigma = NormalDist().inv_cdf(1 - TOPK / KEYS)

    def formula() -> Tensor:
        normalised = torch.nn.functional.batch_norm(logits, mean, var, eps=EPS)
        threshold = normalised.amax(-1, keepdim=True).clamp(max=sigma)
        return torch.where(normalised >= threshold, logits, float("-inf")).softmax(-1)

    def topk() -> tuple[Tensor, Tensor]:
        values, indices = torch.topk(logits, TOPK)
        return values.softmax(-1), indices

    return {
        SPARSE: lambda: route(logits, mean, var, sigma),
        "authors' formula, dense": formula,
        f"torch.topk({TOPK}) + softmax": topk,
        "reading the logits once": logits.sum,
    }


def measure(repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds by case: least and median of ``repeats``, taken in turn so that a busy spell hits all alike."""
    runs = cases()
    times: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        for run in runs.values():
            run()
        for _ in range(repeats):
            for name, run in runs.items():
                start = perf_counter()
                run()
                times[name].append(1e3 * (perf_counter() - start))
    return {name: {"least_ms": min(t), "median_ms": median(t)} for name, t in times.items()}


def keep_heap() -> bool:
    """Tells glibc's malloc to keep freed memory; False where there is no glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def main(argv: list[str] | None = None) -> None:
    """Prints the table, or one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m cuda_ext.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--repeats", type=int, default=15, help="timed rounds an allocator (15)")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tables = {"default malloc": measure(options.repeats)}
        if keep_heap():
            tables["heap kept"] = measure(options.repeats)
    finally:
        torch.set_num_threads(threads)
    for table in tables.values():
        for row in table.values():
            row["ratio"] = row["median_ms"] / table[SPARSE]["median_ms"]
    if options.json:
        shape = {"tokens": TOKENS, "heads": HEADS, "keys": KEYS, "topk": TOPK, "threads": 1}
        print(json.dumps({"torch": torch.__version__, "backend": backend(), **shape, "milliseconds": tables}, indent=2))
        return
    print(f"{TOKENS} tokens, {HEADS} heads, {KEYS} keys, k {TOPK}; one thread; {backend()}; torch {torch.__version__}")
    for allocator, table in tables.items():
        print(f"\n{allocator:<28}{'least ms':>10}{'median ms':>11}{'median / sparse route':>24}")
        for name, row in table.items():
            print(f"{name:<28}{row['least_ms']:>10.2f}{row['median_ms']:>11.2f}{row['ratio']:>24.2f}")


if __name__ == "__main__":
    main()
