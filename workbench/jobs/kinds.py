"""What may be run from a page: the kinds of job, and the options each takes, checked by type.

A new kind is one line of ``KINDS``. Arguments are a list, which no shell reads; an option and its value are one
argument, so that a value never reads as an option.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..analysis.results import check_name
from ..errors import BadInputError
from ..store.address import read_expert
from ..store.siblings import find_sibling

if TYPE_CHECKING:
    from ..store import Run

Check = Callable[["Run", Any], str]  # the value as an argument; BadInputError or NotFoundError where it is none
LONGEST = 200  # characters of a text


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or "\0" in value:
        raise BadInputError(f"expected a text of 1 to {LONGEST} characters, got {value!r:.80}.")
    return value


def _label(run: Run, value: object) -> str:
    run.check_label(_text(value))
    return _text(value)


def _expert(run: Run, value: object) -> str:
    return str(read_expert(_text(value), run.groups, run.num_keys))


def _number(low: float, high: float, whole: bool = False) -> Check:
    def check(run: Run, value: Any) -> str:
        known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not known or not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise BadInputError(f"expected {kind} from {low:g} to {high:g}, got {value!r:.80}.")
        return f"{value:g}"

    return check


def _flag(run: Run, value: object) -> str:
    if value is not True:
        raise BadInputError(f"expected yes or nothing, got {value!r:.80}.")
    return ""


def _sibling(run: Run, value: object) -> str:
    """The path of a run beside the run, from its name."""
    return str(find_sibling(run, _text(value)).path)


RATIO = _number(1, 1000)


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        title: what it makes, in words.
        purpose: what that is for, as "To ...".
        takes: how long it takes on the demo run with two CPU cores.
        options: name of an option, without its dashes -> check of its value.
        extra: the optional dependencies it needs, by their name in setup.cfg.
        command: the words after `monet` where they are more than the kind's name: a command, and flags that are always
            given.
        bare: the option whose value alone is an argument, as the command takes it by its place; it must be given, and
            its check returns no value that begins with a dash.
    """

    title: str
    purpose: str
    takes: str
    options: Mapping[str, Check] = field(default_factory=dict)
    extra: str = ""
    command: tuple[str, ...] = ()
    bare: str = ""


KINDS: dict[str, Kind] = {  # by the name of the `monet` command, but for those that say theirs
    "analyze": Kind("Labels of the experts", "To see each expert's label", "2 minutes"),
    "mask": Kind(
        "Masking matrix",
        "To remove each label's experts in turn and measure the loss on every label",
        "2 minutes",
        {"label": _label, "ratio": RATIO, "confirmed": _flag, "name": lambda run, value: check_name(_text(value))},
    ),
    "curve": Kind(
        "Forget/retain trade-off",
        "To see how much of a label can be forgotten, and at what cost to the others",
        "15 minutes",
        {"label": _label, "confirmed": _flag, "name": lambda run, value: check_name(_text(value))},
    ),
    "structure": Kind(
        "Structure",
        "To measure how much of an expert its row and column explain, and to find the standing committee",
        "2 minutes",
    ),
    "map": Kind(
        "Map of contexts",
        "To map the most active experts by the contexts of their best tokens",
        "3 minutes",
        extra="map",
    ),
    "explain": Kind(
        "Explanations",
        "To explain the experts that carry the most information about the labels",
        "5 minutes",
        {"top": _number(1, 10_000, whole=True), "expert": _expert},
        extra="encoder",
    ),
    "explain-rules": Kind(
        "Rules of the experts",
        "To explain every readable expert by a rule of tokens and contexts, without a model or an encoder",
        "10 minutes",
        {"top": _number(1, 10_000, whole=True), "expert": _expert},
        command=("explain", "--rules"),
    ),
    "attribute-corpus": Kind(
        "Attribution of a token over the corpus",
        "To find the experts that write a token, averaged over all its occurrences",
        "1 minute",
        {"target": lambda run, value: _text(value), "label": _label},
    ),
    "compare": Kind(
        "Two runs compared",
        "To measure how far the models of two runs expect other next tokens",
        "1 minute",
        {"other": _sibling},
        bare="other",
    ),
    "scores": Kind("Correlations", "To correlate every expert with the documents' scores", "2 minutes"),
    "purge": Kind("Purging", "To see what removing the correlated experts does", "5 minutes"),
}


@dataclass(frozen=True)
class Request:
    """A job that is asked for.

    Attributes:
        kind: a key of ``KINDS``.
        options: name -> value, or a list of values where the option is repeated.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.jobs import Request
        >>> Request("mask", {"label": ["lua", "python"], "ratio": 3}).arguments(open_run("runs/demo"))
        ('mask', 'runs/demo', '--label=lua', '--label=python', '--ratio=3')
    """

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def known(self) -> Kind:
        """The kind itself.

        Raises:
            BadInputError: there is none of that name.
        """
        if self.kind not in KINDS:
            raise BadInputError(f"{self.kind!r:.80} cannot be run from a page; choose one of {', '.join(KINDS)}.")
        return KINDS[self.kind]

    def arguments(self, run: Run) -> tuple[str, ...]:
        """The words after `monet`.

        Raises:
            BadInputError: there is no such kind or option, or a value is of the wrong type or out of range.
            NotFoundError: the run has no such label or expert.
        """
        command, *flags = self.known.command or (self.kind,)
        checks, words = self.known.options, [command, str(run.path), *flags]
        bare = self.known.bare
        if bare and bare not in self.options:
            raise BadInputError(f"a job of the kind {self.kind} needs the option {bare}.")
        for name, value in self.options.items():
            if name not in checks:
                raise BadInputError(f"a job of the kind {self.kind} has no option {name!r:.80}.")
            for one in value if isinstance(value, list | tuple) else [value]:
                text = checks[name](run, one)
                words.append(text if name == bare else f"--{name}={text}" if text else f"--{name}")
        return tuple(words)
