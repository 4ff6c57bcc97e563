"""Pages as they are sent: small for Dash, with a status and heading that fit, loading nothing from elsewhere."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from datasets import Dataset
from plotly.io.json import to_json_plotly

from workbench import open_run
from workbench.dashboard.application import create_app, draw
from workbench.dashboard.context import Context
from workbench.dashboard.freeze import Frozen, Sent
from workbench.dashboard.pages import read_address
from workbench.export import export_run

GOLDEN = Path(__file__).parents[2] / "golden"
MOST_COMPONENTS = 100  # Dash draws n components in n * n steps: a thousand take a minute


@pytest.fixture(scope="module")
def ctx(run_path: Path) -> Context:
    return Context(open_run(run_path))


def _components(page: Any) -> Iterator[Sent]:
    if isinstance(page, list | tuple):
        for child in page:
            yield from _components(child)
    elif isinstance(page, Sent):
        yield page
        yield from _components(page["props"].get("children"))


@pytest.mark.parametrize("url", ["/", "/expert/0/{expert}", "/labels/lua", "/mask", "/nowhere"])
def test_page_has_few_components(ctx: Context, url: str) -> None:
    page = draw(ctx, read_address(url.format(expert=ctx.ranking(0)[0]), "")).content
    assert 0 < len(list(_components(page))) < MOST_COMPONENTS


URLS = [
    "/",
    "/expert/0/{expert}",
    "/expert/0/{expert}?show=ranges",
    "/expert/0/{expert}?show=all",
    "/documents/0",
    "/labels/lua",
    "/prompt",
    "/mask",
    "/structure",
]


@pytest.mark.parametrize("url", [*URLS, "/search", "/search?q=print", "/explanations", "/scores", "/nowhere"])
def test_components_that_callbacks_write_to_are_not_frozen(ctx: Context, url: str) -> None:
    callbacks = create_app(ctx.run)._callback_list
    used = {part["id"] for callback in callbacks for part in (*callback["inputs"], *callback["state"])}
    used |= {name for callback in callbacks for name in re.findall(r"([\w-]+)\.\w+", callback["output"])}
    assert "expert-logits" in used
    path, _, query = url.format(expert=ctx.ranking(0)[0]).partition("?")
    frozen = [part for part in _components(draw(ctx, read_address(path, query)).content) if isinstance(part, Frozen)]
    held = set(re.findall(r"'id': '([^']+)'", repr([part.tree for part in frozen])))
    assert not held & used


@pytest.mark.parametrize("url", ["/", "/expert/0/{expert}"])
def test_labels_are_unknown_before_an_analysis(bare_run_path: Path, url: str) -> None:
    ctx = Context(open_run(bare_run_path))
    shown = repr(draw(ctx, read_address(url.format(expert=ctx.ranking(0)[0]), "")).content)
    assert "'not analysed'" in shown
    assert "'generalist'" not in shown
    assert ("'–'" in shown) == (url == "/")


@pytest.mark.parametrize(
    ("url", "status", "heading"),
    [
        ("/", 200, ""),
        ("/expert/0/17", 200, ""),
        ("/nowhere", 404, "Not found"),
        ("/expert/0/999999", 404, "Not found"),
        ("/expert/9/1", 404, "Not found"),
        ("/expert/a/b", 400, "Not a valid request"),
        ("/labels/cobol", 404, "Not found"),
        ("/?group=7", 404, "Not found"),
        ("/?label=cobol", 404, "Not found"),
        ("/structure?group=7", 404, "Not found"),
        ("/mask", 200, ""),
    ],
)
def test_status_and_heading_say_which_kind_of_error(ctx: Context, url: str, status: int, heading: str) -> None:
    assert create_app(ctx.run).server.test_client().get(url).status_code == status
    path, _, query = url.partition("?")
    drawn = draw(ctx, read_address(path, query))
    assert drawn.status == status
    if heading:
        assert drawn.title == heading
        assert heading in repr(drawn.content[0])


HOSTILE = "</script><script>window.hacked = 1</script>"


@pytest.mark.parametrize("url", ["/", "/labels/lua", "/nowhere", "/search?" + urlencode({"q": HOSTILE})])
def test_shell_holds_its_first_page_and_no_other_script(ctx: Context, url: str) -> None:
    client = create_app(ctx.run).server.test_client()
    shell, other = (client.get(one) for one in (url, "/glossary"))
    path, _, query = url.partition("?")
    drawn = draw(ctx, read_address(path, query))
    content = json.loads(to_json_plotly(drawn.content))
    packed = client.get(url, headers={"Accept-Encoding": "gzip"})
    unpacked = gzip.decompress(packed.data) if packed.headers.get("Content-Encoding") == "gzip" else packed.data
    for text in (shell.text, unpacked.decode()):
        (told,) = re.findall(r'<script id="first-page" type="application/json">([^<]*)</script>', text)
        assert json.loads(told) == [content, f"{drawn.title} · {ctx.name}", drawn.page]
        assert text.count("<script") == other.text.count("<script")
    assert shell.headers["Cache-Control"] == "no-store"


def test_damaged_analysis_is_a_page_that_says_so(run_path: Path, tmp_path: Path) -> None:
    shutil.copytree(run_path, tmp_path / "run")
    run = open_run(tmp_path / "run")
    path = run.analysis_path("experts-group-0.parquet")
    path.write_bytes(path.read_bytes()[:100])
    assert create_app(run).server.test_client().get("/").status_code == 500


def test_every_page_has_the_bar_that_shows_waiting_and_what_shows_it(ctx: Context) -> None:
    client = create_app(ctx.run).server.test_client()
    assert '"id":"busy"' in client.get("/_dash-layout").text.replace(" ", "")
    shell = client.get("/").text
    for asset in re.findall(r"/assets/busy\.(?:js|css)\?m=[\d.]+", shell):
        assert "_dash-loading-callback" in client.get(asset).text or "data-dash-is-loading" in client.get(asset).text
    assert len(re.findall(r"/assets/busy\.(?:js|css)", shell)) == 2


def test_shell_declares_its_language(ctx: Context) -> None:
    assert '<html lang="en">' in create_app(ctx.run).server.test_client().get("/").text


def test_scripts_and_requests_are_the_applications_own(run_path: Path) -> None:
    policy = create_app(open_run(run_path)).server.test_client().get("/").headers["Content-Security-Policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in scripts
    assert "http" not in policy


@pytest.mark.parametrize("show", ["", "?show=ranges", "?n=2"])
def test_expert_of_more_tokens_than_the_run_keeps_has_a_page(tmp_path: Path, show: str) -> None:
    rng = np.random.default_rng(3)
    rows = [{"input_ids": rng.integers(3, 128, 40).tolist(), "label": "ab"[n % 2]} for n in range(4)]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "corpus.parquet"))
    export_run(GOLDEN / "tiny-hd", tmp_path / "corpus.parquet", tmp_path / "run", examples=2)
    ctx = Context(open_run(tmp_path / "run"))
    drawn = draw(ctx, read_address(f"/expert/0/{ctx.experts(0)['tokens'].idxmax()}", show))
    assert drawn.status == 200
    assert ("The run keeps 2 of" in repr(drawn.content)) == ("ranges" not in show)


def test_application_is_set_up_before_its_first_request(ctx: Context) -> None:
    """Browsers ask for all scripts at once, and threads answer; Dash alone would know none of them until it is done."""
    app = create_app(ctx.run)
    assert "dash_core_components.js" in str(dict(app.registered_paths))
    assert any("page.children" in output for output in app.callback_map)
