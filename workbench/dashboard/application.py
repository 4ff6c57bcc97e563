"""The Dash application: the frame around the pages, the way from an address to its page, and what errors look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update, set_props
from flask import Response, request

from ..errors import NotFoundError, WorkbenchError
from ..store.address import read_expert
from . import downloads
from .context import Context
from .failures import failure_page, kind_of, text_of
from .freeze import freeze
from .links import Address, expert_link, overview_link
from .page import Page
from .pages import PAGES, read_address
from .parts import aria, message

if TYPE_CHECKING:
    from ..store import Run

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body>
</html>"""


def create_app(run: Run, model: str | Path | None = None, pages: Sequence[Page] = PAGES) -> Dash:
    """The dashboard of a run; its WSGI application is ``create_app(run).server``.

    Args:
        run: an opened run.
        model: folder or hub name of the model for prompts; by default the one the run was exported from.
        pages: the pages it has, in the order of the menu.
    """
    ctx = Context(run, model)
    app = Dash(
        __name__,
        assets_folder=str(Path(__file__).parent / "assets"),
        title=f"{ctx.name} · Monet workbench",
        update_title="",
        index_string=_INDEX,
        serve_locally=True,
        suppress_callback_exceptions=True,
        use_pages=False,
        add_log_handler=False,
        on_error=_show_error,
    )
    app.layout = _frame(ctx, pages)

    @app.callback(
        Output("page", "children"),
        Output("title", "data"),
        Output("error", "children"),
        Input("url", "pathname"),
        Input("url", "search"),
    )
    def show_page(pathname: str | None, search: str | None) -> tuple[Any, str, None]:
        drawn = draw(ctx, read_address(pathname, search, pages), pages)
        return drawn.content, f"{drawn.title} · {ctx.name}", None

    app.clientside_callback(ClientsideFunction("monet", "arrive"), Input("title", "data"))
    _register_go_to(app, ctx)
    for page in pages:
        if page.register is not None:
            page.register(app, ctx)
    downloads.register(app, ctx)
    app.server.after_request(_protection(app))
    app.server.after_request(_status(ctx, pages))
    return app


class Drawn(NamedTuple):
    """A page as it is sent, what the tab calls it, and its HTTP status."""

    content: Any
    title: str
    status: int


def draw(ctx: Context, address: Address, pages: Sequence[Page] = PAGES) -> Drawn:
    """The page of an address; for one that cannot be drawn, a page that says why."""
    try:
        page = next((page for page in pages if page.name == address.page), None)
        if page is None:
            raise NotFoundError(f"there is no page {address.parts[0]}.")
        return Drawn(freeze(page.layout(ctx, address)), page.title_of(ctx, address), 200)
    except Exception as error:  # the reader is told, whatever it is
        kind = kind_of(error)
        return Drawn(failure_page(error), kind.heading, kind.status)


def _status(ctx: Context, pages: Sequence[Page]) -> Any:
    """Dash answers every address with the same shell and status; this gives it the status of the page within."""

    def set_status(answer: Response) -> Response:
        if request.endpoint in ("/", "/<path:path>") and answer.status_code == 200:
            answer.status_code = draw(
                ctx, read_address(request.path, request.query_string.decode(), pages), pages
            ).status
        return answer

    return set_status


def _show_error(error: Exception) -> None:
    """A callback failed: say so at the top of the page."""
    set_props("error", {"children": message("That did not work", text_of(error), "error")})


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


def _frame(ctx: Context, pages: Sequence[Page]) -> dmc.MantineProvider:
    go_to = dmc.TextInput(
        id="go-to",
        placeholder=f"group:id, such as {ctx.run.groups[0]}:{ctx.run.num_keys + 1}",
        size="xs",
        w=170,
        **aria(label="go to an expert, group:id"),
    )
    scheme = dmc.ColorSchemeToggle(
        "", lightIcon="☀", darkIcon="☾", variant="default", **aria(label="switch between light and dark")
    )
    menu = [html.A(page.navigation, href=page.path, className="nav-link") for page in pages if page.navigation]
    header = dmc.AppShellHeader(
        html.Div(
            [
                html.A("Skip to the content", href="#page", className="skip-link"),
                html.A(
                    [html.Span("Monet workbench", className="brand"), " ", html.Span(ctx.name, className="run-name")],
                    href=overview_link(),
                    className="home",
                ),
                html.Nav(menu, className="main-nav", **aria(label="pages")),
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
            dmc.AppShell(
                [header, body], header={"height": {"base": 104, "md": 58}}, padding={"base": "sm", "sm": "lg"}
            ),
        ],
        defaultColorScheme="auto",
        theme={
            "primaryColor": "blue",
            "primaryShade": {"light": 8, "dark": 8},
            "fontFamilyMonospace": "'DejaVu Sans Mono', ui-monospace, Menlo, Consolas, monospace",
        },
    )


def _register_go_to(app: Dash, ctx: Context) -> None:
    """The box in the header that opens an expert."""

    @app.callback(
        Output("url", "pathname", allow_duplicate=True),
        Output("url", "search", allow_duplicate=True),
        Output("go-to", "error"),
        Input("go-to", "n_submit"),
        State("go-to", "value"),
        prevent_initial_call=True,
    )
    def go_to(_: int, text: str | None) -> tuple[Any, Any, str | None]:
        try:
            expert = read_expert(text or "", ctx.run.groups, ctx.run.num_keys)
        except WorkbenchError as error:
            return no_update, no_update, str(error)
        return expert_link(*expert), "", None
