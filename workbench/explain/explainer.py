"""Explainers: what turns the evidence about an expert into a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from .evidence import Evidence
from .wording import listed, one_line, quoted


class Explainer(Protocol):
    """Something or someone that explains experts.

    Attributes:
        kind: ``template``, ``rule``, ``self``, ``endpoint`` or ``person``.
        author: who or what it is: a model's or a person's name.

    Examples:
        >>> from workbench.explain import Template
        >>> class Shouting:  # any object with kind, author and explain is an explainer
        ...     kind, author = "template", "shouting"
        ...     def explain(self, evidence):
        ...         return Template().explain(evidence).upper()
        >>> Shouting().author
        'shouting'
    """

    @property
    def kind(self) -> str: ...

    @property
    def author(self) -> str: ...

    def explain(self, evidence: Evidence) -> str:
        """Return what the expert does, in a sentence that rests on the evidence alone."""
        ...


@dataclass(frozen=True)
class Template:
    """The explainer that fills in a sentence from the data; the same evidence gives the same sentence.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import Template, gather_evidence
        >>> run = open_run("runs/demo")
        >>> expert = int(run.experts(0)["mass"].idxmax())
        >>> every = run.documents["kept"].to_numpy()
        >>> sentence = Template().explain(gather_evidence(run, 0, expert, run.activations(0, expert), every))
        >>> sentence.startswith("Fires at “"), sentence.endswith(".")
        (True, True)
    """

    kind: ClassVar[str] = "template"
    author: ClassVar[str] = "monet"

    def explain(self, evidence: Evidence) -> str:
        """Return its top tokens and labels, with their shares, and its top promoted and suppressed next tokens."""
        if not evidence.tokens:
            return "Not active in the documents it is explained from."
        even = 1 / len(evidence.shares)
        labels = [f"{one_line(label)} ({share:.0%})" for label, share in evidence.shares.items() if share >= even][:3]
        tokens = [f"{quoted(text)} ({share:.0%})" for text, share in list(evidence.vocabulary.items())[:5]]
        different = f"{evidence.different:,.0f} different {'token' if evidence.different < 1.5 else 'tokens'}"
        sentence = f"Fires at {listed(tokens)}, of about {different}"
        sentence += f", in {listed(labels)}"
        if evidence.raised:
            sentence += f"; makes {listed(list(map(quoted, evidence.raised[:3])))} more likely next"
            sentence += f" and {listed(list(map(quoted, evidence.lowered[:3])))} less"
        return sentence + "."


@dataclass(frozen=True)
class Person:
    """An explanation that a person wrote.

    Attributes:
        author: their name.
        text: their words.

    Examples:
        >>> from workbench.explain import Person
        >>> Person("Ada", "Fires at the end of a function.").kind
        'person'
    """

    kind: ClassVar[str] = "person"
    author: str
    text: str

    def explain(self, evidence: Evidence) -> str:
        """Return their words, whatever the evidence."""
        return one_line(self.text)
