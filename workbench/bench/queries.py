"""`monet bench RUN`: time of opening a run and of its queries: expert page, all activations, top experts; and disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DamagedError, UnsupportedError
from .clock import WARM_UP, Clock

if TYPE_CHECKING:
    from ..store import Run

PAGES, EXAMPLES = 1000, 32
RANDOM, BUSIEST = 200, 20  # experts whose activations are all read, the busiest in each group
PAGE_LIMIT, ACTIVATIONS_LIMIT, TOP_LIMIT = 50.0, 500.0, 200.0  # milliseconds at the 95th percentile, warm
OPEN_LIMIT, MEMORY_LIMIT = 1000.0, 500.0  # milliseconds; megabytes

# In a separate process, so that the memory of the libraries is not counted as that of opening.
_OPEN = """
import json, sys, time
from workbench.bench.queries import resident
from workbench import open_run
import workbench.store
libraries = resident()
wall, cpu = time.perf_counter(), time.process_time()
run = open_run(sys.argv[1])
run.documents
print(json.dumps({
    "ms": (time.perf_counter() - wall) * 1e3, "cpu_ms": (time.process_time() - cpu) * 1e3,
    "libraries_mb": libraries, "mb": resident() - libraries,
}))
"""


def resident() -> float:
    """Return this process's resident memory in megabytes."""
    import resource

    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    except OSError:  # no /proc: the peak, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def opening(path: Path) -> dict[str, float]:
    """Measure milliseconds (wall and CPU) and megabytes of opening a run and reading its table of documents.

    Raises:
        DamagedError: the run cannot be opened.
    """
    done = subprocess.run([sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True)
    if done.returncode:
        raise DamagedError(f"the run {path} cannot be opened: {done.stderr.strip().splitlines()[-1]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def page(run: Run, group: int, expert: int) -> None:
    """Read what an expert's page shows: statistics, histogram, top tokens in context, neighbours."""
    run.expert(group, expert)
    run.histogram(group, expert)
    run.contexts(group, expert, run.examples(group, expert, EXAMPLES)["row"])
    run.neighbours(group, expert)


def seen_experts(run: Run, count: int, seed: int) -> list[tuple[int, int]]:
    """Draw (group, expert) among the experts active at least once."""
    rng = np.random.default_rng(seed)
    seen = {group: run.experts(group).index.to_numpy() for group in run.groups}
    return [(int(group), int(rng.choice(seen[int(group)]))) for group in rng.choice(run.groups, count)]


def time_queries(run: Run, seed: int = 0) -> list[Clock]:
    """Times of all queries, warm: the page data of random experts, all activations of random and of the busiest ones,
    and the top experts by every column, filtered and paged."""
    pages = Clock("expert page", PAGE_LIMIT)
    for number, (group, expert) in enumerate(seen_experts(run, WARM_UP + PAGES, seed)):
        clock = pages if number >= WARM_UP else Clock("warm")
        clock.time(lambda: page(run, group, expert))  # noqa: B023
    every = Clock("activations", ACTIVATIONS_LIMIT)
    for number, (group, expert) in enumerate(seen_experts(run, WARM_UP + RANDOM, seed + 1)):
        clock = every if number >= WARM_UP else Clock("warm")
        clock.time(lambda: run.activations(group, expert))  # noqa: B023
    busy = Clock("activations, busiest", ACTIVATIONS_LIMIT)
    for group in run.groups:
        for expert in run.top_experts(group, "tokens", limit=BUSIEST).index:
            busy.time(lambda: run.activations(group, int(expert)))  # noqa: B023
    return [pages, every, busy, _time_top(run)]


def _time_top(run: Run) -> Clock:
    """Every column, rising and falling, filtered and not, the first page and a deep one."""
    top = Clock("top experts", TOP_LIMIT)
    for group in run.groups:
        columns = run.expert(group, 0).index
        for column in columns:
            for ascending in (False, True):
                for where, offset in (({}, 0), ({"tokens": (100, None), "max": (0.01, None)}, 10_000)):
                    top.time(
                        lambda: run.top_experts(group, column, where=where, ascending=ascending, offset=offset)  # noqa: B023
                    )
    return top


def disk(path: Path, tokens: int) -> dict[str, dict[str, float]]:
    """Return the bytes of each folder of a run and of all together, in total and per token."""
    sizes: dict[str, int] = {}
    for file in path.rglob("*"):
        if file.is_file():
            name = file.relative_to(path).parts[0]
            sizes[name] = sizes.get(name, 0) + file.stat().st_size
    sizes["all"] = sum(sizes.values())
    return {name: {"bytes": size, "bytes_a_token": size / tokens} for name, size in sorted(sizes.items())}


def bench_run(run: Run, seed: int = 0) -> dict[str, Any]:
    """Measure opening, queries, memory and disk of a run; the document that `monet bench --json` prints.

    Raises:
        UnsupportedError: the run is not on this machine.
    """
    if not isinstance(run.path, Path):
        raise UnsupportedError(f"{run.path} is not on this machine; copy the run here to measure it.")
    opened = opening(run.path)
    clocks = time_queries(run, seed)
    return {
        "tokens": run.tokens_total,
        "groups": len(run.groups),
        "opening": opened | {"limit_ms": OPEN_LIMIT, "limit_mb": MEMORY_LIMIT},
        "queries": [clock.summary() for clock in clocks],
        "memory_after_mb": resident(),
        "disk": disk(run.path, run.tokens_total),
    }
