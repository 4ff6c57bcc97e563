"""Readable text from books, manuals in HTML and the tagged Brown corpus."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .packages import Package
from .sources import matching

BROWN_LICENCE = "Brown Corpus: redistribution permitted by the copyright holder"
PIECE = 8_000  # characters: a manual is many documents of about a chapter's part
MIN_WORDS = 8  # in a paragraph of a manual; shorter ones are captions, menus and links

# The twelve most frequent words that tell a language from the others here.
FREQUENT = {
    "english": frozenset(["the", "of", "and", "to", "in", "is", "that", "for", "it", "with", "you", "this"]),
    "german": frozenset(["der", "und", "die", "den", "das", "ist", "nicht", "zu", "mit", "sie", "ein", "wird"]),
    "french": frozenset(["le", "et", "les", "des", "du", "une", "pour", "dans", "est", "pas", "vous", "sur"]),
}

_SPACE_BEFORE = re.compile(r" ([,.;:?!)\]}'%]|n't\b|'')")
_SPACE_AFTER = re.compile(r"([(\[{$]|``) ")
_BLOCKS = frozenset(["p", "li", "dd", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "div"])
_UNREAD = "script|style|nav|header|footer|pre|table|form"


def detokenise(tagged: str) -> str:
    """Return readable prose from word/tag pairs: without tags, with normal spacing and quotation marks."""
    paragraphs = []
    for block in re.split(r"\n\s*\n\s*\n|\n\t\n", tagged):
        words = [token.rpartition("/")[0] for token in block.split() if "/" in token]
        text = _SPACE_AFTER.sub(r"\1", _SPACE_BEFORE.sub(r"\1", " ".join(words)))
        text = re.sub(r"([;:?!.])\1+", r"\1", text.replace("``", '"').replace("''", '"'))
        if text:
            paragraphs.append(text)
    return "\n\n".join(paragraphs) + "\n"


def brown_texts(package: Package) -> Iterator[tuple[str, str]]:
    """The texts of the Brown corpus by name."""
    for name, path in matching(package.root, r"package/c[a-r]\d\d$"):
        yield name, detokenise(path.read_bytes().decode("utf-8"))


def html_text(raw: bytes) -> str:
    """Return the running text of a page, a paragraph per block: no code, tables, menus or headings of few words."""
    from lxml import html

    page = html.document_fromstring(raw)
    for unread in page.xpath("|".join(f"//{tag}" for tag in _UNREAD.split("|"))):
        unread.drop_tree()
    paragraphs = []
    for block in page.iter(*_BLOCKS):
        if not any(child.tag in _BLOCKS for child in block.iterdescendants()):  # its text stands in those
            text = " ".join(block.text_content().split())
            if len(text.split()) >= MIN_WORDS:
                paragraphs.append(text)
    return "\n\n".join(paragraphs)


def plain_text(raw: bytes) -> str:
    """Return a text file with each paragraph on one line, as in the other texts."""
    text = raw.decode("utf-8", errors="replace").replace("\r\n", "\n")
    paragraphs = (" ".join(block.split()) for block in re.split(r"\n[ \t]*\n", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if len(paragraph.split()) >= MIN_WORDS)


def in_language(text: str, language: str) -> str:
    """Return the paragraphs in which a language's frequent words outnumber each other's: translations have gaps."""
    return "\n\n".join(part for part in text.split("\n\n") if _language(part) == language)


def _language(text: str) -> str | None:
    words = re.findall(r"\w+", text.lower())
    found = {language: sum(word in frequent for word in words) for language, frequent in FREQUENT.items()}
    best = max(found, key=lambda language: found[language])
    return best if found[best] and list(found.values()).count(found[best]) == 1 else None


def pieces(text: str) -> Iterator[str]:
    """The text in documents of about ``PIECE`` characters, cut between paragraphs; none for an empty text."""
    piece: list[str] = []
    size = 0
    for paragraph in text.split("\n\n"):
        piece.append(paragraph)
        size += len(paragraph)
        if size >= PIECE:
            yield "\n\n".join(piece) + "\n"
            piece, size = [], 0
    if size:
        yield "\n\n".join(piece) + "\n"
