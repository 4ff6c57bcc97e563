"""The steps of a rehearsal: commands as a researcher types them, each in a process of its own, timed and weighed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from ..bench.dashboard import Client, resident, served
from ..errors import WorkbenchError
from ..notes.database import BOOKMARKS
from ..progress import LINES, MODE, Report
from ..store import open_run
from ..store.address import path_part

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
        note: what is worth saying: seconds after loading.
        width: of the widest table that it printed, in characters; 0 for none.
        tokens: that it read, as often as it read them; 0 for a step that reads none.
    """

    name: str
    seconds: float
    cpu_seconds: float
    peak_gb: float
    note: str = ""
    width: int = 0
    tokens: int = 0

    @property
    def rate(self) -> float:
        """Tokens per second, the start of the process and loading included."""
        return self.tokens / self.seconds


class StepFailedError(WorkbenchError):
    """A command of the rehearsal ended with an error; the message is what it said."""


def command(
    name: str, arguments: list[str], note: Callable[[str], str] = lambda said: "", *, tokens: int = 0, counts: str = ""
) -> Step:
    """Run a `monet` command to its end.

    Args:
        name: of the step.
        arguments: of the command.
        note: makes the step's note of what the command printed.
        tokens: that it reads.
        counts: the bar that counts those instead, where how many they are is only known then.

    Raises:
        StepFailedError: the command failed.
    """
    environment = os.environ | {"COLUMNS": COLUMNS, "NO_COLOR": "1", "TERM": "dumb", MODE: LINES}
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
        said, beside = out.read().decode(), errors.read().decode()
    reports = [Report.read(line) for line in beside.splitlines()]
    if process.returncode:
        complaint = "\n".join(line for line in beside.splitlines() if Report.read(line) is None).strip()[-2000:]
        raise StepFailedError(f"monet {' '.join(arguments)} failed ({process.returncode}): {complaint}")
    if counts:
        tokens = round(max(report.done for report in reports if report is not None and report.name == counts))
    width = max((len(line) for line in said.splitlines() if line[:1] in BORDERS), default=0)
    return Step(name, seconds, used.ru_utime + used.ru_stime, peak / 1e9, note(said), width, tokens)


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
        return replace(step, tokens=tokens, note=f"{tokens:,} tokens")

    def read(name: str, *options: str) -> Callable[[], Step]:
        return lambda: command(name, [name, at, *options], tokens=open_run(run).tokens_total)

    def masked() -> Step:
        return command("mask, one label", ["mask", at, "--label", open_run(run).labels[0]], counts="mask")

    def attributed() -> Step:
        text = _prompt(run, PROMPT_TOKENS)
        return command(
            f"attribute, {PROMPT_TOKENS} tokens",
            ["attribute", str(model), "--text", text, "--json"],
            lambda said: f"{json.loads(said)['seconds']:.2f} s after loading",
            tokens=PROMPT_TOKENS,
        )

    def traced() -> Step:
        text = _prompt(run, PROMPT_TOKENS // 4)
        arguments = ["trace", str(model), "--text", text, "--run", at, "--out", str(run.parent / "circuit.json")]
        return command(f"trace, {PROMPT_TOKENS // 4} tokens", arguments, tokens=PROMPT_TOKENS // 4)

    def reported(kind: str) -> Callable[[], Step]:
        def act() -> Step:
            opened = open_run(run)
            chosen = {
                "expert": f"{opened.groups[0]}:{opened.top_experts(opened.groups[0], limit=1).index[0]}",
                "label": opened.labels[0],
                "text": _prompt(run, PROMPT_TOKENS // 4),
            }
            out = run.parent / f"{kind}.html"
            tokens = PROMPT_TOKENS // 4 if kind == "text" else 0
            return command(
                f"report, {kind}", ["report", at, f"--{kind}", chosen[kind], "--out", str(out)], tokens=tokens
            )

        return act

    return {
        "export": exported,
        "verify": read("verify"),
        "analyze": read("analyze", "--permutations", str(PERMUTATIONS)),
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
    """An address of every page of the dashboard, by name, with a strong expert and the first label, list and document.

    A new page of another variable part fails here until it is given one.
    """
    from ..dashboard.pages import PAGES

    opened = open_run(run)
    group = opened.groups[-1]
    expert = int(opened.top_experts(group, limit=1).index[0])
    parts = {
        "group": group,
        "expert": expert,
        "key_set": 1,
        "key": expert // opened.num_keys,
        "label": path_part(opened.labels[0]),
        "doc": 0,
        "name": path_part(BOOKMARKS),
    }
    return {page.name: page.path.format(**parts) for page in PAGES}


def pages(run: Path) -> Step:
    """Open every page of the dashboard several times, by one client.

    Raises:
        StepFailedError: one is answered with another status than 200.
    """
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
            if (status := client.status(path)) != HTTPStatus.OK:
                raise StepFailedError(f"the page {name} at {path} was answered with {status}.")
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
