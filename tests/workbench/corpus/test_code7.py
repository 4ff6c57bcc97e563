"""Reading the packages of the corpus code7."""

from __future__ import annotations

from workbench.corpus.code7 import detokenise


def test_prose_is_readable_without_its_tags() -> None:
    tagged = "The/at jury/nn said/vbd ,/, ``/`` No/at !/. !/. ''/''\n\n\nIt/pps (/( was/bedz )/) n't/*"
    assert detokenise(tagged) == 'The jury said, "No!"\n\nIt (was)n\'t\n'
