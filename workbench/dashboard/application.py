"""The Dash application: the frame around the pages, the way from an address to its page, and what errors look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update, set_props
from flask import Response, request
from plotly.io.json import to_json_plotly

from ..api import serve_api
from ..errors import NotFoundError, kind_of
from . import cards, downloads, embed, gather, kept, running, search_box
from .access import Access, protect
from .context import Context
from .delivery import deliver, fetched_ahead
from .failures import failure_page, text_of
from .freeze import freeze
from .links import Address, based, overview_link
from .page import Page
from .pages import PAGES, read_address
from .parts import aria, message, transcoded_note
from .turns import end_turns

if TYPE_CHECKING:
    from ..store import Run

_OPEN = Access()
_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}<!-- first page -->{%renderer%}</footer></body>
</html>"""
_FIRST = "<!-- first page -->"


def create_app(
    run: Run,
    model: str | Path | None = None,
    pages: Sequence[Page] = PAGES,
    *,
    access: Access = _OPEN,
    embed_hosts: Sequence[str] = (),
    shared: Path | None = None,
) -> Dash:
    """The dashboard of a run; its WSGI application is ``create_app(run).server``.

    Args:
        run: an opened run.
        model: folder or hub name of the model for prompts; by default the one the run was exported from.
        pages: the pages it has, in the order of the menu.
        access: who may ask; everyone who can reach the server by default.
        embed_hosts: the sites whose pages may show cards of experts, as ``check_hosts`` takes them.
        shared: folder of the processes that serve the run together; one of its own by default.

    Raises:
        BadInputError: what is given in ``embed_hosts`` names no site.
    """
    return app_of(Context(run, model, embed.check_hosts(embed_hosts), shared), pages, access)


def app_of(ctx: Context, pages: Sequence[Page] = PAGES, access: Access = _OPEN) -> Dash:
    """``create_app`` of a run whose tables have been read: see ``Context.prepare``."""
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
        requests_pathname_prefix=f"{access.base_path}/",
        routes_pathname_prefix="/",
    )
    app.layout = lambda: _frame(ctx, pages)  # in a request, which knows where the dashboard is mounted

    app.clientside_callback(  # the first page came with the shell; every other one is asked for
        ClientsideFunction("monet", "go"),
        Output("page", "children", allow_duplicate=True),
        Output("title", "data", allow_duplicate=True),
        Output("drawn", "data", allow_duplicate=True),
        Output("asked", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input(running.REFRESH, "data"),  # a job has ended: the same page, with its result
        prevent_initial_call="initial_duplicate",
    )

    @app.callback(
        Output("page", "children"),
        Output("title", "data"),
        Output("error", "children"),
        Output("drawn", "data"),
        Input("asked", "data"),
        State("drawn", "data"),
        prevent_initial_call=True,
    )
    def show_page(asked: dict[str, Any], before: str | None) -> tuple[Any, Any, None, Any]:
        address = read_address(asked["pathname"].removeprefix(request.script_root), asked["search"], pages)
        follows = next((page.follows for page in pages if page.name == address.page), "")
        if follows and address.page == before and not asked["again"]:
            set_props(follows, {"data": address.query})
            return no_update, no_update, None, no_update
        drawn = draw(ctx, address, pages)
        return drawn.content, f"{drawn.title} · {ctx.name}", None, drawn.page

    app.clientside_callback(ClientsideFunction("monet", "arrive"), Input("title", "data"))
    search_box.register(app, ctx)
    for page in pages:
        if page.register is not None:
            page.register(app, ctx)
    kept.register(app, ctx)
    gather.register(app, ctx)
    downloads.register(app, ctx)
    embed.register(app, ctx)
    cards.register(app, ctx)
    serve_api(app.server, ctx)
    running.register(app, ctx)
    end_turns(app.server)
    protect(app, access)
    deliver(app)
    with app.server.test_request_context("/"):
        app.server.preprocess_request()  # Dash sets itself up in its first request, and fails those that come meanwhile
        app.index()
    app.server.after_request(_first(ctx, pages))  # registered last to be first: before the answer is compressed
    return app


class Drawn(NamedTuple):
    """A page as it is sent, what the tab calls it, its name ("" of one that says why there is none), and its HTTP
    status."""

    content: Any
    title: str
    page: str
    status: int


def draw(ctx: Context, address: Address, pages: Sequence[Page] = PAGES) -> Drawn:
    """The page of an address; for one that cannot be drawn, a page that says why."""
    try:
        page = next((page for page in pages if page.name == address.page), None)
        if page is None:
            raise NotFoundError(f"there is no page {address.parts[0]}.")
        return Drawn(freeze(page.layout(ctx, address)), page.title_of(ctx, address), page.name, 200)
    except Exception as error:  # the reader is told, whatever it is
        kind = kind_of(error)
        return Drawn(freeze(failure_page(error)), kind.heading, "", kind.status)


def _first(ctx: Context, pages: Sequence[Page]) -> Any:
    """Dash answers every address with the same shell and status; this gives it the page within, for the script to show
    without asking again, that page's status, and what the page will fetch."""

    def put_in(answer: Response) -> Response:
        if request.endpoint in ("/", "/<path:path>") and answer.status_code == 200:
            address = read_address(quote(request.path), request.query_string.decode(), pages)
            drawn = draw(ctx, address, pages)
            answer.status_code = drawn.status
            answer.headers["Cache-Control"] = "no-store"  # or the button Back would show the page as it was
            if ahead := fetched_ahead(drawn.content):
                answer.headers["Link"] = ahead
            told = to_json_plotly([drawn.content, f"{drawn.title} · {ctx.name}", drawn.page])  # without any <
            page = f'<script id="first-page" type="application/json">{told}</script>'
            answer.set_data(answer.get_data(as_text=True).replace(_FIRST, page))
        return answer

    return put_in


def _show_error(error: Exception) -> None:
    """A callback failed: say so at the top of the page."""
    set_props("error", {"children": message("That did not work", text_of(error), "error")})


def _frame(ctx: Context, pages: Sequence[Page]) -> dmc.MantineProvider:
    scheme = dmc.ColorSchemeToggle(
        "", lightIcon="☀", darkIcon="☾", variant="default", **aria(label="switch between light and dark")
    )
    menu = [
        html.A(page.navigation, href=based(page.path), className="nav-link")
        for page in pages
        if page.navigation and page.useful(ctx)
    ]
    header = dmc.AppShellHeader(
        html.Div(
            [
                html.Div(id="busy", role="progressbar", **aria(label="waiting for the server")),
                html.A("Skip to the content", href="#page", className="skip-link"),
                html.A(
                    [html.Span("Monet workbench", className="brand"), " ", html.Span(ctx.name, className="run-name")],
                    href=overview_link(),
                    className="home",
                ),
                html.Button(
                    "Menu",
                    id="menu-button",
                    type="button",
                    className="button",
                    **aria(expanded="false", controls="menu"),
                ),
                html.Nav(menu, id="menu", className="main-nav", **aria(label="pages")),
                html.Div([*search_box.drawn(ctx), scheme], className="header-tools"),
            ],
            className="header",
        )
    )
    note = freeze([transcoded_note(ctx.run.transcoded)])  # a list: empty for a run of a model that was not transcoded
    body = dmc.AppShellMain([html.Div(id="error", role="alert"), *note, html.Div(id="page", tabIndex="-1")])
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="asked"),
            dcc.Store(id="title"),
            dcc.Store(id="drawn"),  # name of the page that is shown
            *running.frame(),
            dmc.AppShell([header, body], header={"height": 58}, padding={"base": "sm", "sm": "lg"}),
        ],
        defaultColorScheme="auto",
        theme={
            "primaryColor": "blue",
            "primaryShade": {"light": 8, "dark": 8},
            "fontFamilyMonospace": "'DejaVu Sans Mono', ui-monospace, Menlo, Consolas, monospace",
        },
    )
