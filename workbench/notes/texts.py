"""Texts that people write: how long they may be, and which characters can be kept."""

from __future__ import annotations

import unicodedata

from ..errors import BadInputError

NOTE, DESCRIPTION = 10_000, 1000  # characters, at most
AUTHOR, TAG, NAME = 100, 60, 100
_UNKEPT = ("Cc", "Cs", "Zl", "Zp")  # categories of Unicode: controls, halves of characters, line and paragraph ends


def one_line(what: str, text: str, longest: int, empty: bool = False) -> str:
    """``text`` as it is kept: on one line, without blanks around it, in the usual spelling of Unicode (NFC).

    Args:
        what: names the text in an error, such as ``a tag``.
        text: as it was typed.
        longest: characters it may have.
        empty: whether it may be empty.

    Raises:
        BadInputError: it is empty, too long, or has a line break or another character that cannot be kept.

    Examples:
        >>> from workbench.notes.texts import TAG, one_line
        >>> one_line("a tag", "  loops ", TAG)
        'loops'
    """
    return _checked(what, unicodedata.normalize("NFC", text).strip(), longest, empty, "")


def several_lines(what: str, text: str, longest: int, empty: bool = False) -> str:
    """``text`` as it is kept: with its line breaks and tabs, without blanks around it; see ``one_line``."""
    return _checked(what, text.replace("\r\n", "\n").strip(), longest, empty, "\n\t")


def check_unchanged(what: str, current: str, known: str, new: str) -> None:
    """Refuse to replace a text that is no longer the one its reader saw, unless it is the new one already.

    Raises:
        BadInputError: it was changed meanwhile.
    """
    if current not in (known, new):
        raise BadInputError(f"{what} was changed meanwhile and is now {current!r}; load the page anew to change that.")


def _checked(what: str, text: str, longest: int, empty: bool, allowed: str) -> str:
    if not text and not empty:
        raise BadInputError(f"{what} is empty; write something.")
    if len(text) > longest:
        raise BadInputError(f"{what} has {len(text):,} characters; the limit is {longest:,}. Shorten it.")
    for character in text:
        if unicodedata.category(character) in _UNKEPT and character not in allowed:
            raise BadInputError(f"{what} has the character U+{ord(character):04X}, which cannot be kept; remove it.")
    return text
