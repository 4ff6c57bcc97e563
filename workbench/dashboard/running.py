"""Jobs on a page: what to run where a result is missing, the button that runs it, and how far it is.

A place is a part of a page that follows a job: `place` draws it, and one callback (`register`) keeps all places of the
page shown up to date while any job of theirs waits or runs. When one ends, the page is drawn anew with its result.
"""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any, cast

from dash import ALL, Dash, Input, Output, State, no_update
from dash import ctx as callback

from ..analysis.encoder import encoder_folder
from ..errors import NotFoundError
from ..extras import installed
from ..jobs import Job, Request
from ..jobs import State as JobState
from ..progress import Report, short
from ..store.token_text import visible_label
from .context import Context
from .elements import Widget, dcc, dmc, html
from .freeze import freeze
from .links import jobs_link
from .parts import Child, aria, command, message

TICK, CHANGED, REFRESH = "jobs-tick", "jobs-changed", "refresh"  # components of the frame
SHOWN_LINES = 12  # of the output of a job that failed


def frame() -> list[Any]:
    """The components that the callbacks of all places share, for the frame around the pages."""
    return [dcc.Interval(id=TICK, interval=1000, disabled=True), dcc.Store(id=CHANGED), dcc.Store(id=REFRESH)]


def run_first(ctx: Context, title: str, request: Request, purpose: str = "") -> Widget:
    """Says what is missing from a page, and runs what computes it: a button, and the command for a shell.

    Args:
        ctx: the run, as pages see it.
        title: what is missing, such as "No map yet".
        request: the job.
        purpose: what it is for, as "To see a map of the experts"; what its kind says by default.
    """
    known = request.known
    line = html.Code(command(*request.arguments(ctx.run)), className="command")
    text: list[Child] = [f"{purpose or known.purpose}, run ", line]
    text.append(
        f" (about {known.takes} for the demo run on two CPU cores). This page shows the result once it is there."
    )
    if known.extra and not has_extra(known.extra):
        pip = str(Path(shlex.split(command())[0]).with_name("pip"))
        install = shlex.join([pip, "install", "-c", "constraints.txt", "-e", f".[{known.extra}]"])
        text += [f" It needs the optional dependencies “{known.extra}”: ", html.Code(install, className="command"), "."]
        return message(title, text)
    return message(title, [html.Div(text), *place(ctx, request, title)])


def unanalysed(ctx: Context) -> Widget:
    """Says what to run where the labels of the experts are not known yet, or why there can be none."""
    if len(ctx.run.labels) == 1:
        only = visible_label(ctx.run.labels[0])
        return message(
            "No labels to compare",
            f"All documents of this run have the label “{only}”, and an expert's label takes two or more to compare. "
            "Export a corpus with more labels to see them.",
        )
    return run_first(ctx, "Not analysed yet", Request("analyze"))


def has_extra(extra: str) -> bool:
    """Whether the optional dependencies of a job are installed."""
    found = {"map": lambda: installed("umap"), "encoder": lambda: encoder_folder() is not None}
    return found[extra]()  # to look for one takes the time of a small panel


def place(ctx: Context, asked: Request | Job, where: str = "", compact: bool = False) -> list[Any]:
    """A part of a page that follows a job, or the latest with the arguments of a request, which it has a button for.

    Nothing where jobs of this run cannot be started from a page.

    Args:
        ctx: the run, as pages see it.
        asked: the job or request.
        where: tells places of one request on one page apart.
        compact: while the job waits or runs, say no more than that.
    """
    if not ctx.jobs.possible:
        return []
    if isinstance(asked, Job):
        job: Job | None = asked
        data: dict[str, Any] = {"job": asked.id}
    else:
        job = ctx.jobs.latest(asked)
        data = {"kind": asked.kind, "options": dict(asked.options)}
    key = hashlib.sha256(f"{where} {data}".encode()).hexdigest()[:12]
    data |= {"compact": compact, "drawn": _signature(job)}
    return [
        dcc.Store(id={"type": "job-request", "key": key}, data=data),
        dcc.Store(id={"type": "job-shown", "key": key}, data=data["drawn"]),
        html.Div(
            [
                dmc.Box(_progress(ctx, job, compact), id={"type": "job-progress", "key": key}),
                dmc.Box(_rest(ctx, job, key, data), id={"type": "job-place", "key": key}, className="job-rest"),
            ],
            className="job-place",
        ),
    ]


def _signature(job: Job | None) -> str:
    return "" if job is None else f"{job.id} {job.state}"


def _read(ctx: Context, data: dict[str, Any]) -> Job | None:
    """The job that a place follows."""
    if "job" not in data:
        return ctx.jobs.latest(_request(data))
    try:
        return ctx.jobs.get(data["job"])
    except NotFoundError:  # removed since
        return None


def _request(data: dict[str, Any]) -> Request:
    return Request(str(data["kind"]), dict(data["options"]))


def _rest(ctx: Context, job: Job | None, key: str, data: dict[str, Any]) -> list[Any]:
    """What a place shows but for the progress: buttons and how the job ended. It stays while the state does, so that a
    button keeps the keyboard's focus."""
    if job is not None and job.active and not data["compact"]:
        cancel = dmc.Button(
            "Cancel",
            id={"type": "job-cancel", "job": job.id, "key": key},
            n_clicks=0,
            size="xs",
            variant="default",
            **aria(label=f"Cancel job {job.id}"),
        )
        return [cancel]
    if "job" in data or (job is not None and job.active):
        return []
    again = job is not None
    name = "Run it again" if again else "Run it now"
    button = dmc.Button(
        name,
        id={"type": "job-start", "key": key},
        n_clicks=0,
        size="xs",
        **aria(label=f"{name}: {_request(data).known.title}"),
    )
    if job is None or data["compact"]:
        return [button]
    return [*ended(ctx, job), button]


def _progress(ctx: Context, job: Job | None, compact: bool) -> list[Any]:
    """How far a job that waits or runs is."""
    if job is None or not job.active:
        return []
    if compact:
        return [html.Span(f"{job.state} …", className="note")]
    report, waits = ctx.jobs.progress(job.id), job.state is JobState.queued
    share = 100 * report.done / report.total if report and report.total else 0.0
    bar = dmc.Progress(
        value=0 if waits else max(share, 2.0),
        animated=not waits,
        striped=not waits,
        w=220,
        **aria(label="job progress"),
    )
    text = "Waits for its turn." if waits else "Starting …" if report is None else progress_text(report)
    return [dmc.Group([bar, html.Span(text, className="job-text")], gap="sm")]


def progress_text(report: Report) -> str:
    """A report in words.

    Examples:
        >>> from workbench.progress import Report
        >>> progress_text(Report("mask", 12_000, 48_000, "tokens", 130))
        'mask: 12k of 48k tokens, about 3 minutes left'
    """
    done = f"{report.name}: {short(report.done)} of {short(report.total)} {report.unit}"
    left = report.seconds_left
    if left is None or report.done >= report.total:
        return done
    if left <= 90:
        return f"{done}, about {max(5 * round(left / 5), 5)} seconds left"
    return f"{done}, about {left / 60 + 0.5:.0f} minutes left"


def ended(ctx: Context, job: Job) -> list[Any]:
    """How a job ended, with its last lines where it failed."""
    log = html.A("its output", href=jobs_link(job.id))
    if job.state is JobState.failed:
        lines = plain(ctx.jobs.output(job.id, SHOWN_LINES))
        failed = [html.P([f"Job {job.id} failed: see ", log, "."]), html.Pre(lines, className="job-log", tabIndex="0")]
        return [html.Div(failed)]
    words = {JobState.done: "is done", JobState.cancelled: "was cancelled"}
    said = words.get(job.state, "was lost: the server ended before it did")
    return [html.P([f"Job {job.id} {said}: see ", log, "."], className="note")]


def plain(lines: list[str]) -> str:
    """Lines as text without what controls a terminal."""
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in lines)


def register(app: Dash, ctx: Context) -> None:
    """The callbacks of all places: start, cancel, and how far the jobs are."""
    every = {"key": ALL}

    @app.callback(
        Output(CHANGED, "data"),
        Input({"type": "job-start", **every}, "n_clicks"),
        State({"type": "job-request", **every}, "id"),
        State({"type": "job-request", **every}, "data"),
        prevent_initial_call=True,
    )
    def start(_: list[int], places: list[dict[str, str]], data: list[dict[str, Any]]) -> Any:
        if not callback.triggered or not callback.triggered[0]["value"]:  # a button was drawn, not pressed
            return no_update
        key = callback.triggered_id["key"]
        asked = next(one for at, one in zip(places, data, strict=True) if at["key"] == key)
        return f"{ctx.jobs.start(_request(asked)).id} started"

    @app.callback(
        Output(CHANGED, "data", allow_duplicate=True),
        Input({"type": "job-cancel", "job": ALL, **every}, "n_clicks"),
        prevent_initial_call=True,
    )
    def cancel(_: list[int]) -> Any:
        if not callback.triggered or not callback.triggered[0]["value"]:
            return no_update
        ctx.jobs.cancel(callback.triggered_id["job"])
        return f"{callback.triggered_id['job']} cancelled"

    @app.callback(
        Output({"type": "job-progress", **every}, "children"),
        Output({"type": "job-place", **every}, "children"),
        Output({"type": "job-shown", **every}, "data"),
        Output(TICK, "disabled"),
        Output(REFRESH, "data"),
        Input(TICK, "n_intervals"),
        Input(CHANGED, "data"),
        Input({"type": "job-request", **every}, "data"),
        State({"type": "job-request", **every}, "id"),
        State({"type": "job-shown", **every}, "data"),
    )
    def follow(
        _: int, __: str, data: list[dict[str, Any]], places: list[dict[str, str]], shown: list[str]
    ) -> tuple[list[Any], list[Any], list[Any], bool, Any]:
        bars, rests, states = [], [], []
        active, refresh = False, cast(Any, no_update)
        for at, one, before in zip(places, data, shown, strict=True):
            job = _read(ctx, one)
            now = _signature(job)
            active = active or (job is not None and job.active)
            if now != one["drawn"] and (one["compact"] or job is None or not job.active):
                refresh = now
            bars.append(freeze(_progress(ctx, job, one["compact"])))
            rests.append(no_update if now == before else freeze(_rest(ctx, job, at["key"], one)))
            states.append(now)
        return bars, rests, states, not active, refresh
