"""What surrounds each character of a text: comments, strings and brackets, of any language and by rule of thumb.

It knows no grammar: ``//``, ``--`` and ``#`` after a blank open a comment on the line, ``/* */`` and ``<!-- -->`` a
block, quotes a string that ends with its line, three double quotes one that does not.
"""

from __future__ import annotations

from dataclasses import dataclass

CODE, LINE, BLOCK, STRING = "outside comments and strings", "in line comments", "in block comments", "in strings"
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_TRIPLE = '"""'
_LOOK_BACK = 40  # characters in which the word before a bracket is looked for


@dataclass(frozen=True)
class Surroundings:
    """Of a text's characters, and of its end.

    Attributes:
        place: (characters + 1,) ``CODE``, ``LINE``, ``BLOCK`` or ``STRING``.
        bracket: (characters + 1,) the innermost open bracket, "" where none is open.
        opener: (characters + 1,) the word, or else the character, in front of that bracket.
    """

    place: list[str]
    bracket: list[str]
    opener: list[str]


def scan(text: str) -> Surroundings:
    """Return what surrounds each character of a text, as read from its beginning up to there.

    Examples:
        >>> from workbench.explain.rules.scan import scan
        >>> around = scan("f(a) # b")
        >>> around.bracket[2], around.opener[2], around.bracket[4], around.place[7]
        ('(', 'f', '', 'in line comments')
    """
    place, bracket, opener = [], [], []
    open_brackets: list[tuple[str, str]] = []
    until, now = "", CODE  # what ends the comment or string that is open
    began = 0
    for at, character in enumerate(text):
        top = open_brackets[-1] if open_brackets else ("", "")
        place.append(now)
        bracket.append(top[0])
        opener.append(top[1])
        if now == CODE:
            now, until = _opened(text, at)
            began = at
            if character in _CLOSED_BY and now == CODE:
                open_brackets.append((character, _word_before(text, at)))
            elif character in _CLOSED_BY.values() and now == CODE:
                while open_brackets and _CLOSED_BY[open_brackets[-1][0]] != character:
                    open_brackets.pop()
                del open_brackets[-1:]
        elif _ended(text, at, began, until):
            now = CODE
    top = open_brackets[-1] if open_brackets else ("", "")
    return Surroundings([*place, now], [*bracket, top[0]], [*opener, top[1]])


def _opened(text: str, at: int) -> tuple[str, str]:
    """What begins at a character of code, and the text that will end it."""
    before = text[at - 1] if at else "\n"
    if text.startswith("/*", at):
        return BLOCK, "*/"
    if text.startswith("<!--", at):
        return BLOCK, "-->"
    if (text.startswith("//", at) and before != ":") or text.startswith("--", at):
        return LINE, "\n"
    if text[at] == "#" and before in " \t\n":
        return LINE, "\n"
    if text.startswith(_TRIPLE, at):
        return STRING, _TRIPLE
    if text[at] in '"`' or (text[at] == "'" and not before.isalnum()):
        return STRING, text[at]
    return CODE, ""


def _ended(text: str, at: int, began: int, until: str) -> bool:
    if len(until) == 1:
        return text[at] == "\n" or (text[at] == until and text[at - 1] != "\\")
    return at - began >= 2 * len(until) - 1 and text.endswith(until, 0, at + 1)


def _word_before(text: str, at: int) -> str:
    """The word that ends in front of a character, or else the one character there."""
    start = at
    while start > max(at - _LOOK_BACK, 0) and (text[start - 1].isalnum() or text[start - 1] in "_$"):
        start -= 1
    return text[start:at] or text[max(at - 1, 0) : at]
