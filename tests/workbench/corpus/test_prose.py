"""Readable text out of tagged and marked-up pages."""

from __future__ import annotations

from workbench.corpus.prose import PIECE, detokenise, html_text, in_language, pieces, plain_text


def test_prose_is_readable_without_its_tags() -> None:
    tagged = "The/at jury/nn said/vbd ,/, ``/`` No/at !/. !/. ''/''\n\n\nIt/pps (/( was/bedz )/) n't/*"
    assert detokenise(tagged) == 'The jury said, "No!"\n\nIt (was)n\'t\n'


def test_the_running_text_of_a_page_is_read() -> None:
    page = """<html><head><title>No title of this page is read at all, however long</title></head><body>
    <nav><p>Up and down and back and home and all the other menus</p></nav>
    <h1>Short heading</h1><p>The first paragraph goes on
    over two lines &amp; has <code>code</code> in it.</p>
    <ul><li><p>A paragraph in an item stands once, not once per element.</p></li></ul>
    <div><div class="para">DocBook has its paragraphs in elements of no meaning of their own.</div></div>
    <pre>int main(void) { return 0; } // no one should read this code</pre></body></html>"""
    assert html_text(page.encode()) == (
        "The first paragraph goes on over two lines & has code in it.\n\n"
        "A paragraph in an item stands once, not once per element.\n\n"
        "DocBook has its paragraphs in elements of no meaning of their own."
    )


def test_wrapped_paragraphs_are_one_line_each() -> None:
    raw = b"Call me Ishmael. Some years\r\nago, never mind how long.\r\n\r\nCHAPTER 2\r\n"
    assert plain_text(raw) == "Call me Ishmael. Some years ago, never mind how long."


def test_paragraphs_left_untranslated_are_dropped() -> None:
    german = "Das Paket wird mit dem Befehl installiert, und die Datei ist da."
    english = "The package is installed with the command, and the file is there."
    text = f"{german}\n\n{english}\n\nxyzzy 123"
    assert in_language(text, "german") == german
    assert in_language(text, "english") == english
    assert in_language(text, "french") == ""


def test_long_texts_become_several_documents_and_lose_nothing() -> None:
    paragraphs = [f"{n} " * 500 for n in range(20)]
    parts = list(pieces("\n\n".join(paragraphs)))
    assert len(parts) > 1
    assert all(PIECE <= len(part) < PIECE + 2000 for part in parts[:-1])
    assert "\n\n".join(part.removesuffix("\n") for part in parts) == "\n\n".join(paragraphs)
    assert list(pieces("")) == []
