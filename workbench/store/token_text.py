"""Tokens and texts in a form that people can read."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DamagedError
from ..importing import importing_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_MARKS = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # fillers and joiners: letters and marks by category
_PROSE = re.compile("[^ \n\t\u200c\u200d]")
_BLANKS = re.compile("^ +| +$|  +")
_SPLIT = re.compile("(‹[0-9A-F]{2}(?: [0-9A-F]{2}){0,2}›)")  # bytes of a character, as token_pieces shows them
# A character, perhaps escaped, and a token's share of it, as whole_characters shows them.
SHARE = re.compile(r"‹(.|\\[xuU][0-9a-f]+) ([1-4])/([1-4])›", re.S)
_ALL_SHARES = re.compile(r"‹(.) 1/2›‹\1 2/2›|‹(.) 1/3›‹\2 2/3›‹\2 3/3›|‹(.) 1/4›‹\3 2/4›‹\3 3/4›‹\3 4/4›", re.S)
KEPT = 16_384  # texts that are held as they are shown: those of tokens, labels and sources come again and again
MOST_SHARES = 4  # bytes of a character in UTF-8
_JOINING_JAMO = {chr(code) for code in range(0x1161, 0x11C3)}  # vowels and finals, which join the syllable before
_BYTE_FALLBACK = 6  # length of <0xE2>


def visible(text: str) -> str:
    """``text`` with blanks and controls shown: space ·, line break ↵, tab →, return ␍, others as \\x1b, \\u202e.

    Control, format, surrogate and unassigned characters of Unicode, its line separators and its letters that nobody
    sees are escaped, so that no text can hide or reverse what is shown beside it. The bytes of a split character,
    ‹E2 82›, stay as ``token_pieces`` writes them, and so does the share of one, ‹€ 2/3›, of ``whole_characters``.
    """
    pieces = _SPLIT.split(text)  # text and bytes by turns
    pieces[::2] = [_visible_shares(piece) for piece in pieces[::2]]
    return "".join(pieces)


def _visible_shares(text: str) -> str:
    shown, at = "", 0
    for share in SHARE.finditer(text):
        shown += "".join(map(_visible, text[at : share.start()]))
        shown += f"‹{_visible(share[1])} {share[2]}/{share[3]}›"
        at = share.end()
    return shown + "".join(map(_visible, text[at:]))


@lru_cache(KEPT)
def visible_shares(text: str) -> tuple[tuple[str, str], ...]:
    """``visible`` in parts for a page: text with "", and each split character by itself with its share, as 2/3.

    Examples:
        >>> visible_shares("a b‹€ 2/3›")
        (('a·b', ''), ('€', '2/3'))
    """
    parts, at, shown = [], 0, visible(text)
    for share in SHARE.finditer(shown):
        parts += [(shown[at : share.start()], ""), (share[1], f"{share[2]}/{share[3]}")]
        at = share.end()
    return tuple(part for part in (*parts, (shown[at:], "")) if part[0])


def visible_prose(text: str) -> str:
    """What somebody wrote, as it is shown: as it is, but nothing in it hides or reverses text.

    Like ``visible``, but blanks, line breaks and tabs stay, and so do the joiners of emoji and of scripts like Persian.

    Examples:
        >>> from workbench.store.token_text import visible_prose
        >>> visible_prose("two words \\u202eand more")
        'two words \\\\u202eand more'
    """
    return _PROSE.sub(lambda found: _visible(found[0]), text)


@lru_cache(KEPT)
def visible_label(label: str) -> str:
    """A label as it is shown: as it is, but nothing in it is invisible, so that labels which differ look different.

    Blanks at the ends and double ones show as ·, line breaks as ↵; controls, unusual blanks and the characters that
    Unicode's normal form C would join or replace are escaped, as e\\u0301. Like ``visible``, for whole names.

    Examples:
        >>> from workbench.store.token_text import visible_label
        >>> visible_label(" common  lisp"), visible_label("common lisp")
        ('·common··lisp', 'common lisp')
    """
    marked = _BLANKS.sub(lambda found: _MARKS[" "] * len(found[0]), label)
    normal = unicodedata.is_normalized("NFC", label)
    return "".join(c if c == " " else _visible_in_name(c, normal) for c in marked)


def _visible_in_name(character: str, normal: bool) -> str:
    if unicodedata.category(character) == "Zs" or not (normal or unicodedata.is_normalized("NFC", character)):
        return _escape(character)
    if not normal and (unicodedata.combining(character) or character in _JOINING_JAMO):
        return _escape(character)
    return _visible(character)


def _visible(character: str) -> str:
    shown = _MARKS.get(character, character)
    category = unicodedata.category(shown)
    return _escape(shown) if category[0] == "C" or category in ("Zl", "Zp") or shown in _UNSEEN else shown


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
    byte_level = _is_byte_level(tokenizer)
    return [
        f"#{number}" if name is None else name if name in special else _show(_bytes(name, byte_level))
        for number, name in zip(ids, names, strict=True)
    ]


def token_bytes(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[bytes]:
    """The bytes of text that each token stands for, by itself; none for special tokens and ids that are no token.

    Unlike the texts of ``token_pieces``, they join to the text also where a character is split over several tokens.

    Examples:
        >>> from transformers import AutoTokenizer
        >>> from workbench.store.token_text import token_bytes
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> token_bytes(tokenizer, tokenizer("public static")["input_ids"])
        [b'', b'public', b' static']
    """
    names = tokenizer.convert_ids_to_tokens(list(map(int, ids)))
    special = set(tokenizer.all_special_tokens)
    byte_level = _is_byte_level(tokenizer)
    return [b"" if name is None or name in special else _bytes(name, byte_level) for name in names]


def whole_characters(pieces: Sequence[str]) -> list[str]:
    """The pieces of consecutive tokens, with bytes of a split character shown as the character and the token's share.

    Where € is split over three tokens, ‹E2›, ‹82›, ‹AC› become ‹€ 1/3›, ‹€ 2/3›, ‹€ 3/3›. Bytes that are no whole
    character, as at the ends of a stretch of text, stay as they are.

    Args:
        pieces: of tokens that follow each other, as ``token_pieces`` shows them.

    Examples:
        >>> whole_characters(["a‹E2 82›", "‹AC›", "b", "‹82›"])
        ['a‹€ 1/2›', '‹€ 2/2›', 'b', '‹82›']
    """
    segments = [_SPLIT.split(piece) for piece in pieces]  # of each piece: text and bytes by turns
    held: list[tuple[int, int]] = []  # piece and segment of the bytes of a character that is not whole yet
    raw = b""
    for number, parts in enumerate(segments):
        for place in range(len(parts)):
            if place % 2 == 0:
                if parts[place]:  # text ends a character
                    held, raw = [], b""
                continue
            found = bytes.fromhex(parts[place].strip("‹›"))
            if found[0] & 0xC0 != 0x80:  # a character begins
                held, raw = [], b""
            held, raw = [*held, (number, place)], raw + found
            try:
                character = raw.decode()
            except UnicodeDecodeError:
                continue
            tokens = sorted({piece for piece, _ in held})
            for piece, segment in held:
                segments[piece][segment] = ""
            for share, token in enumerate(tokens, 1):
                first = next(segment for piece, segment in held if piece == token)
                segments[token][first] = f"‹{character} {share}/{len(tokens)}›"
            held, raw = [], b""
    return ["".join(parts) for parts in segments]


def _is_byte_level(tokenizer: PreTrainedTokenizerFast) -> bool:
    return "ByteLevel" in type(tokenizer.backend_tokenizer.decoder).__name__


def _bytes(name: str, byte_level: bool) -> bytes:
    if byte_level:
        alphabet = _byte_alphabet()
        if all(c in alphabet for c in name):
            return bytes(alphabet[c] for c in name)
        return name.encode()  # an added token, kept as it is
    if len(name) == _BYTE_FALLBACK and name.startswith("<0x") and name.endswith(">"):
        return bytes([int(name[3:5], 16)])
    return name.replace("▁", " ").encode()


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


def joined(pieces: Iterable[str]) -> str:
    """The text of consecutive pieces of ``whole_characters``: a character once where all of its shares are there.

    Examples:
        >>> joined(["a", "‹€ 1/2›", "‹€ 2/2›", "‹你 2/3›"])
        'a€‹你 2/3›'
    """
    return _ALL_SHARES.sub(r"\1\2\3", "".join(pieces))


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast | None:
    """Return the fast tokenizer in a model's folder: its tokenizer.json or else its tokenizer.model; None without any.

    Raises:
        DamagedError: there is one and it cannot be read.
        UnsupportedError: there is only a tokenizer.model, and no fast tokenizer splits texts as it does.
    """
    if not (folder / "tokenizer.json").is_file():
        if not (folder / "tokenizer.model").is_file():
            return None
        from .sentencepiece_model import load_sentencepiece

        return load_sentencepiece(folder)
    with importing_transformers():
        from transformers import PreTrainedTokenizerFast

    try:
        return PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the library raises bare Exception for a broken file
        raise DamagedError(f"the tokenizer in {folder} cannot be read: {error}") from error
