"""The glossary page has every term, under the anchor that links use."""

from __future__ import annotations

from collections.abc import Callable

from workbench.dashboard.context import Context
from workbench.dashboard.links import anchor, glossary_link
from workbench.report.glossary import GLOSSARY

Page = Callable[[Context, str], str]


def test_glossary_page_has_every_term(ctx: Context, page: Page) -> None:
    shown = page(ctx, glossary_link())
    for term in GLOSSARY:
        assert f"'id': '{anchor(term)}'" in shown
