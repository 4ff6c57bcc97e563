"""Explainers: what makes a sentence of the evidence about an expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from .evidence import Evidence
from .wording import listed, one_line, quoted


class Explainer(Protocol):
    """Something or someone that explains experts.

    Attributes:
        kind: ``template``, ``self``, ``endpoint`` or ``person``.
        author: who or what it is: a model's name, a person's.
    """

    @property
    def kind(self) -> str: ...

    @property
    def author(self) -> str: ...

    def explain(self, evidence: Evidence) -> str:
        """What the expert does, in a sentence; it may rest on the evidence alone."""
        ...


@dataclass(frozen=True)
class Template:
    """One sentence from the data alone; the same evidence gives the same sentence."""

    kind: ClassVar[str] = "template"
    author: ClassVar[str] = "monet"

    def explain(self, evidence: Evidence) -> str:
        """Its tokens and labels with their parts of its score, and the next tokens it moves most."""
        if not evidence.tokens:
            return "Not active in the documents it is explained from."
        equal = 1 / len(evidence.shares)
        labels = [f"{one_line(label)} ({share:.0%})" for label, share in evidence.shares.items() if share >= equal][:3]
        tokens = [f"{quoted(text)} ({part:.0%})" for text, part in list(evidence.vocabulary.items())[:5]]
        different = f"{evidence.different:,.0f} different {'token' if evidence.different < 1.5 else 'tokens'}"
        sentence = f"Fires at {listed(tokens)}, of about {different}"
        sentence += f", in {listed(labels)}"
        if evidence.raised:
            sentence += f"; makes {listed(list(map(quoted, evidence.raised[:3])))} more likely next"
            sentence += f" and {listed(list(map(quoted, evidence.lowered[:3])))} less"
        return sentence + "."


@dataclass(frozen=True)
class Person:
    """What a person wrote.

    Attributes:
        author: their name.
        text: their words.
    """

    kind: ClassVar[str] = "person"
    author: str
    text: str

    def explain(self, evidence: Evidence) -> str:
        """Their words, whatever the evidence."""
        return one_line(self.text)
