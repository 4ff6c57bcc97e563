"""Tokens and texts in a form that people can read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DamagedError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_MARKS = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
_SPLIT = re.compile("(‹[0-9A-F]{2}(?: [0-9A-F]{2}){0,2}›)")  # bytes of a character, as token_pieces shows them
_BYTE_FALLBACK = 6  # length of <0xE2>


def visible(text: str) -> str:
    """``text`` with blanks and controls shown: space ·, line break ↵, tab →, return ␍, others as \\x1b, \\u202e.

    Control, format, surrogate and unassigned characters of Unicode are escaped, so that no text can hide or reverse
    what is shown beside it. The bytes of a split character, ‹E2 82›, stay as ``token_pieces`` writes them.
    """
    pieces = _SPLIT.split(text)  # text and bytes by turns
    pieces[::2] = ["".join(map(_visible, piece)) for piece in pieces[::2]]
    return "".join(pieces)


def _visible(character: str) -> str:
    shown = _MARKS.get(character, character)
    return _escape(shown) if unicodedata.category(shown)[0] == "C" else shown


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def token_pieces(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[str]:
    """The text of each token, by itself.

    A token that holds part of a UTF-8 character shows those bytes in hexadecimal, as ‹E2 82›; so every byte of the text
    is in one piece and none is lost. Byte-level and SentencePiece vocabularies are known; special tokens show as named,
    and an id that the tokenizer does not know as #17.
    """
    names = tokenizer.convert_ids_to_tokens(list(map(int, ids)))
    special = set(tokenizer.all_special_tokens)
    byte_level = "ByteLevel" in type(tokenizer.backend_tokenizer.decoder).__name__
    return [
        f"#{number}" if name is None else name if name in special else _piece(name, byte_level)
        for number, name in zip(ids, names, strict=True)
    ]


def _piece(name: str, byte_level: bool) -> str:
    if byte_level:
        alphabet = _byte_alphabet()
        if all(c in alphabet for c in name):
            return _show(bytes(alphabet[c] for c in name))
        return name  # an added token, kept as it is
    if len(name) == _BYTE_FALLBACK and name.startswith("<0x") and name.endswith(">"):
        return _show(bytes([int(name[3:5], 16)]))
    return name.replace("▁", " ")


def _show(raw: bytes) -> str:
    """UTF-8 text; bytes that are not a whole character as ‹E2 82›."""
    text, held = "", raw
    while held:
        try:
            return text + held.decode()
        except UnicodeDecodeError as error:
            text += held[: error.start].decode() + f"‹{held[error.start : error.end].hex(' ').upper()}›"
            held = held[error.end :]
    return text


@cache
def _byte_alphabet() -> dict[str, int]:
    """The printable character that byte-level vocabularies write for each byte: visible Latin-1 as it is, the others
    as the characters from U+0100 on, in order."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in kept]
    return {chr(b): b for b in kept} | {chr(0x100 + n): b for n, b in enumerate(others)}


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast | None:
    """Return the fast tokenizer in a model's folder; None where it has none.

    Raises:
        DamagedError: there is one and it cannot be read.
    """
    if not (folder / "tokenizer.json").is_file():
        return None
    from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the library raises bare Exception for a broken file
        raise DamagedError(f"the tokenizer in {folder} cannot be read: {error}") from error
