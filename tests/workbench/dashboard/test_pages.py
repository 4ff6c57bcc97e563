"""Pages as they are sent: small for Dash, in step with the run's files, in words where something is missing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dash.development.base_component import Component

from workbench import open_run
from workbench.analysis import analyze_run
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.freeze import Frozen
from workbench.dashboard.links import read_address

MOST_COMPONENTS = 40  # Dash draws n components in n * n steps


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def _components(page: Any) -> Iterator[Component]:
    if isinstance(page, list | tuple):
        for child in page:
            yield from _components(child)
    elif isinstance(page, Component):
        yield page
        yield from _components(getattr(page, "children", None))


@pytest.mark.parametrize("url", ["/", "/expert/0/{expert}", "/labels/lua", "/mask", "/nowhere"])
def test_page_is_few_components(ctx: Context, url: str) -> None:
    page = draw(ctx, read_address(url.format(expert=ctx.ranking(0)[0]), ""))
    assert 0 < len(list(_components(page))) < MOST_COMPONENTS


URLS = ["/", "/expert/0/{expert}", "/expert/0/{expert}?show=ranges", "/labels/lua", "/prompt", "/mask", "/structure"]


@pytest.mark.parametrize("url", [*URLS, "/explanations", "/scores", "/nowhere"])
def test_what_callbacks_write_to_is_not_frozen(ctx: Context, url: str) -> None:
    callbacks = create_app(ctx.run)._callback_list
    used = {given["id"] for callback in callbacks for given in (*callback["inputs"], *callback["state"])}
    used |= {name for callback in callbacks for name in re.findall(r"([\w-]+)\.\w+", callback["output"])}
    assert "expert-logits" in used
    path, _, query = url.format(expert=ctx.ranking(0)[0]).partition("?")
    frozen = [part for part in _components(draw(ctx, read_address(path, query))) if isinstance(part, Frozen)]
    held = set(re.findall(r"'id': '([^']+)'", repr([part.tree for part in frozen])))
    assert not held & used


@pytest.mark.parametrize("url", ["/", "/expert/0/{expert}"])
def test_nothing_is_said_of_labels_that_nobody_looked_for(bare_run_path: Path, url: str) -> None:
    ctx = Context(open_run(bare_run_path))
    page = draw(ctx, read_address(url.format(expert=ctx.ranking(0)[0]), ""))
    said = repr(page)
    assert "'not analysed'" in said
    assert "'generalist'" not in said
    assert ("'–'" in said) == (url == "/")


def test_analysis_made_meanwhile_is_seen(bare_run_path: Path, tmp_path: Path) -> None:
    shutil.copytree(bare_run_path, tmp_path / "run")
    ctx = Context(open_run(tmp_path / "run"))
    assert not ctx.analysed
    assert ctx.specialised(0).sum() == 0
    analyze_run(ctx.run, min_tokens=1)
    assert ctx.analysed
    assert ctx.specialised(0).sum() > 0


def test_map_gives_every_expert_its_label(ctx: Context) -> None:
    codes, table = ctx.codes(0), ctx.experts(0)
    names = ["", *ctx.run.labels]
    for expert, label in table["specialised"].items():
        assert names[codes[divmod(expert, ctx.run.num_keys)]] == label
    assert (codes >= 0).sum() == len(table)


def test_downloads_answer_in_words_where_there_is_nothing(run_path: Path) -> None:
    client = create_app(open_run(run_path)).server.test_client()
    for url, said in (
        ("/download/expert/0/999999.html", "there is no expert 999999"),
        ("/download/expert/0/1.pdf", "no report format 'pdf'"),
        ("/download/label.csv?label=cobol", "no label 'cobol'"),
        ("/download/text.json?text=", "text is empty"),
    ):
        answer = client.get(url)
        assert answer.status_code == 404
        assert said in answer.text
        assert answer.mimetype == "text/plain"


def test_scripts_and_requests_are_the_applications_own(run_path: Path) -> None:
    policy = create_app(open_run(run_path)).server.test_client().get("/").headers["Content-Security-Policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in scripts
    assert "http" not in policy
