"""The steps of a rehearsal: commands as a researcher types them, each in a process of its own, timed and weighed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import quote

import numpy as np

from ..bench.dashboard import Client, resident, served
from ..errors import WorkbenchError
from ..store import open_run

MONET = [sys.executable, "-c", "from workbench.cli import main; main()"]
PROMPT_TOKENS = 128
PERMUTATIONS = 20
OPENINGS = 5  # of each page; the first reads what later ones find in memory
POLLED = 0.05  # seconds between two looks at a command's memory
BORDERS = tuple("┏┃┡│└")  # with which the lines of a table begin
COLUMNS = "80"  # of the terminal that commands write to


@dataclass(frozen=True)
class Step:
    """What a step took.

    Attributes:
        name: of the step.
        seconds: by the clock, the start of the process included.
        cpu_seconds: processor time of all its threads.
        peak_gb: the most memory that the process held, in 10^9 bytes; weights mapped from files count.
            Of the dashboard, what its processes hold at the end, with what they share counted once.
        note: what is worth saying: tokens per second, seconds after loading.
        width: of the widest table that it printed, in characters; 0 for none.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_gb: float
    note: str = ""
    width: int = 0


class StepFailedError(WorkbenchError):
    """A command of the rehearsal ended with an error; the message is what it said."""


def command(name: str, arguments: list[str], note: Callable[[str], str] = lambda said: "") -> Step:
    """Run a `monet` command to its end.

    Args:
        name: of the step.
        arguments: of the command.
        note: makes the step's note of what the command printed.

    Raises:
        StepFailedError: the command failed.
    """
    environment = os.environ | {"COLUMNS": COLUMNS, "NO_COLOR": "1", "TERM": "dumb"}
    with TemporaryFile() as out, TemporaryFile() as errors:
        begun = time.perf_counter()
        process = subprocess.Popen([*MONET, *arguments], stdout=out, stderr=errors, env=environment)
        done, peak = 0, 0
        while not done:
            peak = max(peak, _high_water(process.pid))
            time.sleep(POLLED)
            done, status, used = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
        out.seek(0)
        errors.seek(0)
        said = out.read().decode()
        if process.returncode:
            complaint = errors.read().decode().strip()[-2000:]
            raise StepFailedError(f"monet {' '.join(arguments)} failed ({process.returncode}): {complaint}")
    width = max((len(line) for line in said.splitlines() if line[:1] in BORDERS), default=0)
    return Step(name, seconds, used.ru_utime + used.ru_stime, peak / 1e9, note(said), width)


def _high_water(pid: int) -> int:
    """The most bytes that a process has held so far. What ``wait4`` says counts the process that started it as well."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def commands(model: Path, corpus: Path, run: Path) -> dict[str, Callable[[], Step]]:
    """The steps by name, in order; each finds what the ones before have written.

    Args:
        model: folder of the checkpoint.
        corpus: file of JSON lines.
        run: folder of the run.
    """
    at = str(run)

    def exported() -> Step:
        step = command("export", ["export", str(model), str(corpus), at, "--resume"])
        tokens = open_run(run).tokens_total
        return Step(**asdict(step) | {"note": f"{tokens:,} tokens, {tokens / step.seconds:,.1f} tokens/s with loading"})

    def masked() -> Step:
        return command("mask, one label", ["mask", at, "--label", open_run(run).labels[0]])

    def attributed() -> Step:
        text = _prompt(run, PROMPT_TOKENS)
        return command(
            f"attribute, {PROMPT_TOKENS} tokens",
            ["attribute", str(model), "--text", text, "--json"],
            lambda said: f"{json.loads(said)['seconds']:.2f} s after loading",
        )

    def traced() -> Step:
        text = _prompt(run, PROMPT_TOKENS // 4)
        arguments = ["trace", str(model), "--text", text, "--run", at, "--out", str(run.parent / "circuit.json")]
        return command(f"trace, {PROMPT_TOKENS // 4} tokens", arguments)

    def reported(kind: str) -> Callable[[], Step]:
        def act() -> Step:
            opened = open_run(run)
            chosen = {
                "expert": f"{opened.groups[0]}:{opened.top_experts(opened.groups[0], limit=1).index[0]}",
                "label": opened.labels[0],
                "text": _prompt(run, PROMPT_TOKENS // 4),
            }
            out = run.parent / f"{kind}.html"
            return command(f"report, {kind}", ["report", at, f"--{kind}", chosen[kind], "--out", str(out)])

        return act

    return {
        "export": exported,
        "verify": lambda: command("verify", ["verify", at]),
        "analyze": lambda: command("analyze", ["analyze", at, "--permutations", str(PERMUTATIONS)]),
        "mask": masked,
        "attribute": attributed,
        "trace": traced,
        **{f"report {kind}": reported(kind) for kind in ("expert", "label", "text")},
        "pages": lambda: pages(run),
    }


def _prompt(run: Path, tokens: int) -> str:
    """The beginning of the run's longest document: text of so many tokens."""
    opened = open_run(run)
    tokenizer = opened.tokenizer()
    assert tokenizer is not None
    longest = int(opened.documents["tokens"].to_numpy().argmax())
    text = opened.text(longest)
    assert text is not None
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][: tokens - 1]
    return str(tokenizer.decode(ids)).strip()


def page_paths(run: Path) -> dict[str, str]:
    """An address of every kind of page of a run, by name."""
    opened = open_run(run)
    group = opened.groups[-1]
    expert = int(opened.top_experts(group, limit=1).index[0])
    label, keys = quote(opened.labels[0], safe=""), opened.num_keys
    return {
        "experts": "/",
        "expert": f"/expert/{group}/{expert}",
        "key": f"/keys/{group}/1/{expert // keys}",
        "label": f"/labels/{label}",
        "mask": "/mask",
        "search": "/search",
        "prompt": "/prompt",
        "circuit": "/circuit",
        "atlas": "/atlas",
        "document": "/document/0",
        "glossary": "/glossary",
    }


def pages(run: Path) -> Step:
    """Open every page of the dashboard several times, by one client."""
    taken: dict[str, float] = {}
    begun, before = time.perf_counter(), os.times()
    with served(run) as (address, pid):
        client = Client(address)
        for name, path in page_paths(run).items():
            times = []
            for _ in range(OPENINGS):
                start = time.perf_counter()
                client.open(path)
                times.append(time.perf_counter() - start)
            taken[name] = 1e3 * float(np.median(times))
        held = resident(pid) / 1e3
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    note = ", ".join(f"{name} {value:,.0f}" for name, value in taken.items())
    return Step("pages of the dashboard", time.perf_counter() - begun, spent, held, f"median ms: {note}")


def read_steps(file: Path) -> dict[str, Step]:
    """The steps that an earlier rehearsal has done, by name."""
    if not file.is_file():
        return {}
    stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {name: Step(**fields) for name, fields in stored.items()}
