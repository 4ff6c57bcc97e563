"""The tokens of a prompt at which a row of an edit holds, as text: ``3,5-9``, ``12-``, ``last``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import BadInputError

LAST = 0  # the number of the prompt's last token
PLACE = r"(?:[1-9]\d{0,5}(?:-(?:[1-9]\d{0,5})?)?|last-?)"
PLACES = re.compile(rf"{PLACE}(?:\s*,\s*{PLACE})*")


@dataclass(frozen=True)
class TokenPlaces:
    """Numbers of tokens, from 1, without the start-of-text token; tokens that the model writes are counted on.

    Attributes:
        spans: first and last token of each span; ``LAST`` for the prompt's last token, None for no end.
    """

    spans: tuple[tuple[int, int | None], ...]

    @classmethod
    def read(cls, text: str) -> TokenPlaces:
        """The places that a text writes: numbers, spans such as ``5-9``, and ``12-`` or ``last-`` for what has no end.

        Raises:
            BadInputError: it is no such text.

        Examples:
            >>> from workbench.store.edit_places import TokenPlaces
            >>> TokenPlaces.read("3, 5-9, last-").spans
            ((3, 3), (5, 9), (0, None))
            >>> TokenPlaces.read("last").slices(tokens=4, bos=True)
            [slice(4, 5, None)]
        """
        if not PLACES.fullmatch(text.strip()):
            raise BadInputError(f"{text!r} names no tokens; write 3,5-9 for tokens, 12- for all from one on, or last.")
        spans: list[tuple[int, int | None]] = []
        for place in text.split(","):
            first, dash, end = place.strip().partition("-")
            start = LAST if first == "last" else int(first)
            spans.append((start, int(end) if end else None if dash else start))
        for start, stop in spans:
            if stop is not None and stop < start:
                raise BadInputError(f"the tokens {start}-{stop} end before they begin; write {stop}-{start}.")
        return cls(tuple(spans))

    def __str__(self) -> str:
        return ",".join(
            ("last" if first == LAST else f"{first}") + ("-" if last is None else f"-{last}" if last != first else "")
            for first, last in self.spans
        )

    def slices(self, tokens: int, bos: bool) -> list[slice]:
        """The places as positions of the sequence that the model reads, from 0.

        Args:
            tokens: number of the prompt's tokens, without the start-of-text token.
            bos: whether a start-of-text token stands before them.
        """
        numbers = [(first or tokens, (last or tokens) if last is not None else None) for first, last in self.spans]
        return [slice(first - 1 + int(bos), None if last is None else last + int(bos)) for first, last in numbers]
