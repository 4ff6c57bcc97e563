"""The page of a model's fingerprints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import open_run
from workbench.analysis.results import write_result
from workbench.dashboard.context import Context
from workbench.dashboard.pages import PAGES

from .fingerprinted import COMMITMENT, HOSTILE, PUBLIC, erased, located

Page = Callable[[Context, str], str]


def _context(run_path: Path, folder: Path, public: object | None = PUBLIC) -> Context:
    """A run whose model folder holds a public record, and a secret that no page may read."""
    path = shutil.copytree(run_path, folder / "run")
    model = folder / "model"
    model.mkdir()
    if public is not None:
        (model / "fingerprint.json").write_text(public if isinstance(public, str) else json.dumps(public))
    (model / "fingerprints.json").write_text('{"secret": "feedbeef", "keys": [[424242]]}')
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["model"]["path"] = str(model)
    (path / "manifest.json").write_text(json.dumps(manifest))
    return Context(open_run(path))


@pytest.fixture
def marked(run_path: Path, tmp_path: Path) -> Context:
    made = _context(run_path, tmp_path)
    write_result(made.run, located())
    write_result(made.run, erased())
    return made


def test_it_is_in_the_menu_of_a_fingerprinted_models_run_alone(run_path: Path, tmp_path: Path, ctx: Context) -> None:
    page = next(page for page in PAGES if page.name == "ownership")
    assert not page.useful(ctx)
    assert page.useful(_context(run_path, tmp_path))
    (tmp_path / "other").mkdir()
    unmarked = _context(run_path, tmp_path / "other", None)
    assert not page.useful(unmarked)
    write_result(unmarked.run, erased())
    assert page.useful(unmarked)


def test_without_fingerprints_it_says_how_to_make_some(ctx: Context, page: Page) -> None:
    assert "fingerprint embed" in page(ctx, "/ownership")


def test_what_was_embedded_is_shown_as_text(marked: Context, page: Page) -> None:
    shown = page(marked, "/ownership")
    for said in (COMMITMENT, "1,024", "99.5%", "+0.0175 nats per token", "+0.1500", "routers frozen", "lr 0.001"):
        assert said in shown
    assert repr(HOSTILE) in shown
    assert shown.count("<img") == shown.count(repr(HOSTILE))


def test_where_it_sits_links_experts_and_tells_concentration(marked: Context, page: Page) -> None:
    shown = page(marked, "/ownership")
    assert "/expert/1/17" in shown
    for said in ("+0.7500", "of 512; with 90 % 130", "25.0%", "15.00%", "91.7%"):
        assert said in shown
    assert f"{3 / 14:.1%}" in shown  # of the rise of the logits, outside experts


def test_the_price_of_erasing_is_stated_either_way(marked: Context, page: Page) -> None:
    experts, neurons = page(marked, "/ownership"), page(marked, "/ownership?units=neurons")
    assert "5 located experts (0.98%) take 90% of the other keys' fingerprints, for +0.0100" in experts
    assert "located by half of the keys 5.0% for +0.0100; random 92.5% for +0.0010" in experts
    assert "No removal of located neurons takes 90%" in neurons
    assert "Not found" in page(marked, "/ownership?units=layers")


def test_the_secret_is_never_shown_nor_read(marked: Context, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read_text = Path.read_text

    def told(path: Path, *args: Any, **kwargs: Any) -> str:
        opened.append(path.name)
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", told)
    shown = page(marked, "/ownership")
    assert "fingerprint.json" in opened
    assert "fingerprints.json" not in opened
    assert "feedbeef" not in shown
    assert "424242" not in shown


def test_commands_are_quoted_for_a_shell(marked: Context, page: Page) -> None:
    shown = page(marked, "/ownership")
    assert "fingerprint verify" in shown
    assert "--base \\'models/base of it\\'" in shown or "--base 'models/base of it'" in shown


def test_results_without_a_public_record_are_shown(run_path: Path, tmp_path: Path, page: Page) -> None:
    made = _context(run_path, tmp_path, None)
    write_result(made.run, located())
    shown = page(made, "/ownership")
    assert "No public record" in shown
    assert "/expert/1/17" in shown
    assert "Not erased yet" in shown


def test_a_result_of_other_fingerprints_is_called_so(run_path: Path, tmp_path: Path, page: Page) -> None:
    made = _context(run_path, tmp_path)
    write_result(made.run, located("cd34" * 16))
    assert "Of other fingerprints" in page(made, "/ownership")


@pytest.mark.parametrize(
    "public",
    [
        "{", "[]", PUBLIC | {"count": "many"}, PUBLIC | {"scheme": [HOSTILE]}, PUBLIC | {"measured": None},
        PUBLIC | {"count": float("inf")}, {"commitment": COMMITMENT}, PUBLIC | {"measured": {"success": True}},
        PUBLIC | {"measured": PUBLIC["measured"] | {"by_label": {"lua": 3}}},
    ],
)  # fmt: skip
def test_a_damaged_public_record_is_named_and_the_rest_stays(
    public: object, run_path: Path, tmp_path: Path, page: Page
) -> None:
    made = _context(run_path, tmp_path, public)
    write_result(made.run, located())
    shown = page(made, "/ownership")
    assert "fingerprint.json" in shown
    assert "message-error" in shown
    assert "/expert/1/17" in shown
    assert "To verify" in shown


def test_results_by_gradient_have_no_parts_and_are_shown(run_path: Path, tmp_path: Path, page: Page) -> None:
    from dataclasses import replace

    made, found = _context(run_path, tmp_path), located()
    nothing = found.fingerprints.assign(experts=np.nan, rest=np.nan)
    write_result(
        made.run,
        replace(found, method="gradient", completeness=np.nan, fingerprints=nothing, parts=found.parts.head(0)),
    )
    shown = page(made, "/ownership")
    assert "first-order estimate" in shown
    assert "not in experts" not in shown
