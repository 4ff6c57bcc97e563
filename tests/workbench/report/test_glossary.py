"""docs/glossary.md is the glossary of the pages, and definitions are sentences."""

from __future__ import annotations

from pathlib import Path

from workbench.report.glossary import GLOSSARY, SECTIONS, markdown

ROOT = Path(__file__).parents[3]


def test_docs_glossary_is_current() -> None:
    written = (ROOT / "docs" / "glossary.md").read_text()
    assert written == markdown(), "run python -m workbench.report.glossary > docs/glossary.md"


def test_every_term_is_defined_once() -> None:
    assert len(GLOSSARY) == sum(len(terms) for terms in SECTIONS.values())
    assert all(definition.endswith(".") for definition in GLOSSARY.values())
