"""What holds for every page of the registry, and for a new one added by one declaration."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from dash import html

from workbench import open_run
from workbench.dashboard import pages
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.page import Page
from workbench.dashboard.pages import MODULES, PAGES, read_address

FOLDER = Path(pages.__file__).parent


def test_registry_names_every_module_of_the_folder() -> None:
    assert sorted(MODULES) == sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    assert len({page.name for page in PAGES}) == len(PAGES) == len({page.path for page in PAGES})


@pytest.mark.parametrize("name", MODULES)
def test_page_imports_no_other_page(name: str) -> None:
    tree = ast.parse(Path(importlib.import_module(f"workbench.dashboard.pages.{name}").__file__ or "").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level != 1, f"{name} imports from pages/"


def test_new_page_is_one_declaration(run_path: Path) -> None:
    toy = Page("toy", "/toy/{word}", lambda ctx, address: f"Toy {address.parts[0]}", _toy, navigation="Toys")
    everything = (*PAGES, toy)
    ctx = Context(open_run(run_path))
    drawn = draw(ctx, read_address("/toy/a%20b", "", everything), everything)
    assert (drawn.title, drawn.status) == ("Toy a b", 200)
    assert "a b" in str(drawn.content)
    app = create_app(ctx.run, pages=everything)
    assert app.server.test_client().get("/toy/x").status_code == 200
    assert "Toys" in str(app.layout().to_plotly_json())


def _toy(ctx: Context, address: object) -> list[html.H1]:
    return [html.H1(address.parts[0])]  # type: ignore[attr-defined]


def test_pages_without_results_name_their_commands(run_path: Path, page: Callable[[Context, str], str]) -> None:
    bare = Context(open_run(run_path))
    for link, command in (
        ("/structure", "monet map"),
        ("/structure", "monet structure"),
        ("/explanations", "monet explain"),
        ("/mask", "monet curve"),
    ):
        assert f"{command} {run_path}" in page(bare, link)
    assert "monet corpus score" in page(bare, "/scores")
