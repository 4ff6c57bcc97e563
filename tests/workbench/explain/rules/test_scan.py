"""Comments, strings and brackets as a rule of thumb sees them."""

from __future__ import annotations

import pytest

from workbench.explain.rules.scan import BLOCK, CODE, LINE, STRING, scan


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a // b", LINE),
        ("a http://b", CODE),
        ("a # b", LINE),
        ("a#b", CODE),
        ("a -- b", LINE),
        ("// a\nb", CODE),
        ("/* a\nb", BLOCK),
        ("/*/ b", BLOCK),
        ("/* a */ b", CODE),
        ("<!-- a b", BLOCK),
        ("<!-- a --> b", CODE),
        ("x = 'a b", STRING),
        ("it's b", CODE),
        ('"a\nb', CODE),
        (r'"a \" b', STRING),
        ('"a" b', CODE),
        ('"""a\nb', STRING),
        ('"""a""" b', CODE),
        ('"""""" b', CODE),
    ],
)
def test_scan_tells_where_the_last_character_stands(text: str, place: str) -> None:
    assert scan(text).place[len(text) - 1] == place


def test_scan_knows_the_innermost_open_bracket_and_what_stands_in_front_of_it() -> None:
    text = "f(a[0], {b: ( c"
    around = scan(text)
    assert [around.bracket[text.index(c)] for c in "fa0,bc"] == ["", "(", "[", "(", "{", "("]
    assert [around.opener[text.index(c)] for c in "a0bc"] == ["f", "a", " ", " "]
    assert len(around.bracket) == len(around.opener) == len(around.place) == len(text) + 1


def test_scan_closes_brackets_that_do_not_match_and_ignores_those_of_strings_and_comments() -> None:
    assert scan("(a[b)c").bracket[5] == ""
    assert scan("a)b").bracket[2] == ""
    assert scan("'('b // (\nc").bracket[-1] == ""
    assert scan("").bracket == [""]
