"""The Dash application: the frame around the pages, the way from an address to its page, and what errors look like."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, dcc, html, set_props
from flask import Response

from ..errors import WorkbenchError
from . import downloads
from .context import Context
from .freeze import freeze
from .links import Address, overview_link, page_title, read_address
from .pages import expert, explanations, label, mask, overview, prompt, scores, structure
from .parts import aria, message

if TYPE_CHECKING:
    from ..store import Run

_PAGES = {
    "overview": overview,
    "expert": expert,
    "prompt": prompt,
    "mask": mask,
    "label": label,
    "structure": structure,
    "explanations": explanations,
    "scores": scores,
}
_NAVIGATION = (
    ("Experts", "/"),
    ("Prompt", "/prompt"),
    ("Masking", "/mask"),
    ("Structure", "/structure"),
    ("Explanations", "/explanations"),
    ("Scores", "/scores"),
)
_log = logging.getLogger(__name__)


def create_app(run: Run, model: str | Path | None = None) -> Dash:
    """The dashboard of a run; its WSGI application is ``create_app(run).server``.

    Args:
        run: an opened run.
        model: folder or hub name of the model for prompts; by default the one the run was exported from.
    """
    ctx = Context(run, model)
    app = Dash(
        __name__,
        assets_folder=str(Path(__file__).parent / "assets"),
        title=f"{ctx.name} · Monet workbench",
        update_title="",
        serve_locally=True,
        suppress_callback_exceptions=True,
        use_pages=False,
        add_log_handler=False,
        on_error=_show_error,
    )
    app.layout = _frame(ctx)

    @app.callback(
        Output("page", "children"),
        Output("title", "data"),
        Output("error", "children"),
        Input("url", "pathname"),
        Input("url", "search"),
        on_error=lambda error: (_missing(error), ctx.name, None),
    )
    def show_page(pathname: str | None, search: str | None) -> tuple[Any, str, None]:
        address = read_address(pathname, search)
        return draw(ctx, address), f"{page_title(address)} · {ctx.name}", None

    app.clientside_callback(ClientsideFunction("monet", "arrive"), Input("title", "data"))
    for page in (overview, expert, prompt, label, structure, explanations):
        page.register(app, ctx)
    downloads.register(app, ctx)
    app.server.after_request(_protection(app))
    return app


def draw(ctx: Context, address: Address) -> Any:
    """The page of an address; for an address that names nothing, a page that says so."""
    if address.page == "missing":
        return _missing(WorkbenchError(f"there is no page {address.parts[0]}."))
    try:
        return freeze(_PAGES[address.page].layout(ctx, address))
    except WorkbenchError as error:
        return _missing(error)


def _said(error: Exception) -> str:
    """What the reader is told; an unexpected error also goes to the log, with its traceback."""
    if isinstance(error, WorkbenchError):
        return str(error)
    _log.error("the dashboard failed", exc_info=error)
    return f"{type(error).__name__}: {error}. The server's log has more."


def _missing(error: Exception) -> list[Any]:
    known = isinstance(error, WorkbenchError)
    return [
        html.H1("Not found" if known else "Something went wrong"),
        message("This page cannot be shown", _said(error), "error"),
        html.A("To the overview", href=overview_link()),
    ]


def _show_error(error: Exception) -> None:
    """A callback failed: say so at the top of the page."""
    set_props("error", {"children": message("That did not work", _said(error), "error")})


def _protection(app: Dash) -> Any:
    """The browser runs the application's own scripts only and loads nothing from elsewhere, whatever a page shows."""
    policy = (
        f"default-src 'self'; script-src 'self' {' '.join(app.csp_hashes())}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
    )

    def protect(answer: Response) -> Response:
        answer.headers["Content-Security-Policy"] = policy
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "same-origin"
        return answer

    return protect


def _frame(ctx: Context) -> dmc.MantineProvider:
    go_to = dmc.TextInput(
        id="go-to",
        placeholder=f"group:id, such as {ctx.run.groups[0]}:{ctx.run.num_keys + 1}",
        size="xs",
        w=210,
        **aria(label="go to an expert, group:id"),
    )
    scheme = dmc.ColorSchemeToggle("", lightIcon="☀", darkIcon="☾", variant="default", **aria(label="light or dark"))
    navigation = [html.A(name, href=href, className="nav-link") for name, href in _NAVIGATION]
    header = dmc.AppShellHeader(
        html.Div(
            [
                html.A("Skip to the page", href="#page", className="skip-link"),
                html.A(
                    [html.Span("Monet workbench", className="brand"), html.Span(ctx.name, className="run-name")],
                    href="/",
                    className="home",
                ),
                html.Nav(navigation, className="main-nav", **aria(label="pages")),
                html.Div([go_to, scheme], className="header-tools"),
            ],
            className="header",
        )
    )
    body = dmc.AppShellMain([html.Div(id="error", role="alert"), html.Div(id="page", tabIndex="-1")])
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="title"),
            dmc.AppShell([header, body], header={"height": 58}, padding="lg"),
        ],
        defaultColorScheme="auto",
        theme={
            "primaryColor": "blue",
            "fontFamilyMonospace": "'DejaVu Sans Mono', ui-monospace, Menlo, Consolas, monospace",
        },
    )
