"""What runs, waits and ran: `monet` commands that were started from a page, and those that can be."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from dash import Dash, Input, Output, State, no_update

from ...jobs import KINDS, Job, Request
from ...jobs import State as JobState
from ...store.token_text import visible_label
from ..attributed import attributed
from ..context import Context
from ..elements import Element, dmc, html
from ..failures import message_or
from ..links import (
    EXPLANATIONS_PATH,
    JOBS_PATH,
    SCORES_PATH,
    STRUCTURE_PATH,
    Address,
    compare_link,
    jobs_link,
    mask_link,
    overview_link,
)
from ..page import Page
from ..parts import Child, command, message, panel, table
from ..removal import of_arguments
from ..running import CHANGED, REFRESH, has_extra, place, plain

RESULTS = {  # kind of job -> the page that shows what it made
    "analyze": overview_link(),
    "mask": mask_link(),
    "curve": mask_link(),
    "structure": STRUCTURE_PATH,
    "map": STRUCTURE_PATH,
    "explain": EXPLANATIONS_PATH,
    "explain-rules": EXPLANATIONS_PATH,
    "compare": compare_link(kind="runs"),
    "scores": SCORES_PATH,
    "purge": SCORES_PATH,
}
ATTRIBUTION = "attribute-corpus"  # whose result stands above its output
OPTIONS: dict[str, dict[str, Any]] = {"explain": {"top": 100}}  # that the buttons here run a kind with


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?job=0003`` shows what a job printed.

    Raises:
        NotFoundError: the run has no such job.
    """
    number = address.query.get("job")
    jobs = ctx.jobs.listed()
    return [
        html.H1("Jobs"),
        *([] if number is None else _shown(ctx, ctx.jobs.get(number))),
        *_active(ctx, [job for job in reversed(jobs) if job.active]),
        *_ended([job for job in jobs if not job.active]),
        *_start(ctx),
    ]


def _line(job: Job) -> Element:
    return html.Code(command(*job.arguments), className="command")


def _active(ctx: Context, jobs: list[Job]) -> list[Any]:
    if not jobs:
        return []
    shown = [html.Div([html.Div([f"{job.id} ", _line(job)]), *place(ctx, job)], className="job") for job in jobs]
    return [panel("Running and waiting", shown, note="One job runs at a time. It goes on when you leave this page.")]


def _ended(jobs: list[Job]) -> list[Any]:
    if not jobs:
        return []
    rows = [
        [job.id, _line(job), str(job.state), _when(job.started or job.created), _took(job), _links(job)] for job in jobs
    ]
    head = ["job", "command", "state", "started", "took", "see"]
    return [panel("What ran", table(head, rows, "Jobs that have ended, the latest first", numeric=len(head)))]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _took(job: Job) -> str:
    if job.started is None or job.ended is None:
        return "–"
    minutes, seconds = divmod(round(job.ended - job.started), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _links(job: Job) -> list[Child]:
    links: list[Child] = [html.A("output", href=jobs_link(job.id))]
    if job.state is JobState.done and (result := _result(job)):
        links += [" · ", html.A("result", href=result)]
    return links


def _result(job: Job) -> str | None:
    """Address of the page that shows what a job made; None where it printed it."""
    removal = of_arguments(job.arguments)
    if removal and job.kind in ("mask", "curve"):
        return mask_link(removal=removal.query())
    if job.kind == "compare":
        return compare_link(run=Path(job.arguments[-1]).name)
    return RESULTS.get(job.kind)


def _shown(ctx: Context, job: Job) -> list[Any]:
    """What a job printed and, where it attributed a token, the experts that it found."""
    found = message_or(attributed, ctx, job) if job.kind == ATTRIBUTION and job.state is JobState.done else []
    return [*found, _output(ctx, job)]


def _output(ctx: Context, job: Job) -> Element:
    lines = ctx.jobs.output(job.id)
    text = html.Pre(plain(lines), className="job-log", tabIndex="0") if lines else html.P("Nothing.", className="note")
    code = "" if job.exit_code is None else f", exit code {job.exit_code}"
    return panel(f"Output of job {job.id}", [html.P(_line(job)), text], note=[f"{job.state}{code}. ", *_links(job)[2:]])


def _start(ctx: Context) -> list[Any]:
    """Everything that can be started here, a button for each."""
    if not ctx.jobs.possible:
        text = "Nothing can be written beside this run, so its jobs are started from a shell."
        return [message("No jobs from pages", text)]
    rows = []
    for name, kind in KINDS.items():
        if name == ATTRIBUTION or (name in ("scores", "purge") and not ctx.scored):
            continue
        run: list[Any] = [f"needs the extra “{kind.extra}”"]
        if kind.bare:
            run = [html.A("Choose first", href=RESULTS[name])]
        elif not kind.extra or has_extra(kind.extra):
            run = place(ctx, Request(name, OPTIONS.get(name, {})), "start", compact=True)
        said = [
            html.A(kind.title, href=RESULTS[name]),
            html.Span(f"{kind.purpose}: about {kind.takes}.", className="note"),
        ]
        rows.append(html.Div([html.Div(said, className="job-kind"), html.Div(run)], className="job start"))
    note = (
        "Times are of the demo run on two CPU cores. A result that is there already is replaced when the job is done."
    )
    return [
        panel("Start a job", rows, note=note),
        _attribution(ctx),
    ]


def _attribution(ctx: Context) -> Element:
    kind = KINDS[ATTRIBUTION]
    target = dmc.TextInput(id="job-target", label="The token that comes next", placeholder=" return", w=200)
    label = dmc.Select(
        id="job-label",
        label="In documents of",
        placeholder="all labels",
        clearable=True,
        data=[{"value": name, "label": visible_label(name)} for name in ctx.labels],
        w=220,
    )
    button = dmc.Button("Run it now", id="job-attribute", n_clicks=0)
    fields = dmc.Group([target, label, button], align="flex-end")
    shown = "The experts stand above the output of the job. Type the token with its space."
    note = f"{kind.purpose}: about {kind.takes}. {shown}"
    return panel(kind.title, fields, note=note)


def register(app: Dash, ctx: Context) -> None:
    """The form that attributes a token; all else is of ``workbench.dashboard.running``."""

    @app.callback(
        Output(CHANGED, "data", allow_duplicate=True),
        Output(REFRESH, "data", allow_duplicate=True),
        Input("job-attribute", "n_clicks"),
        State("job-target", "value"),
        State("job-label", "value"),
        prevent_initial_call=True,
    )
    def attribute(clicks: int, target: str | None, label: str | None) -> tuple[Any, Any]:
        if not clicks:
            return no_update, no_update
        job = ctx.jobs.start(Request(ATTRIBUTION, {"target": target or ""} | ({"label": label} if label else {})))
        return f"{job.id} started", f"{job.id} started"


PAGE = Page("jobs", JOBS_PATH, "Jobs", layout, navigation="Jobs", register=register)
