"""What the benches share: their arguments, rounds taken in turn, medians and ratios, and printing.

Every bench is run as ``python -m workbench.bench.NAME``; with ``--json`` it prints one JSON document, else tables.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from monet_model.device import device_name

from ..device import DTYPES

if TYPE_CHECKING:
    import torch

    from monet_model import MonetForCausalLM

Figures = Mapping[str, Any]
Table = tuple[str, list[str], list[list[str]]]  # title, head, rows


def make_parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a bench's argument parser, with ``--json``; its description is the first paragraph of the docstring.

    Args:
        name: of the module in this package.
        doc: its docstring, whose first line is the command and what it does.
    """
    purpose = (doc or "").partition("\n\n")[0].partition(": ")[2]
    parser = argparse.ArgumentParser(prog=f"python -m workbench.bench.{name}", description=purpose)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def add_place(parser: argparse.ArgumentParser) -> None:
    """Give a bench's parser ``--device`` and ``--dtype``, which say what they say everywhere (``workbench.device``)."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda[:N]|mps", help="where the model runs (auto)")
    parser.add_argument(
        "--dtype", default="auto", metavar="|".join(DTYPES), help="precision it computes in, except its routers (auto)"
    )


def place_of(model: MonetForCausalLM) -> dict[str, str]:
    """Return where a model runs and in which precision, as figures: ``device``, a GPU by its model, and ``dtype``."""
    return {"device": device_name(model.device), "dtype": dtype_name(model.dtype)}


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a precision as ``--dtype`` takes it."""
    return str(dtype).removeprefix("torch.")


def take_turns(measures: Mapping[str, Callable[[int], Figures]], rounds: int) -> dict[str, list[Figures]]:
    """Measure everything once per round, in turn, so that what disturbs the machine disturbs all alike.

    Args:
        measures: what is called with the number of the round, by name.
        rounds: number of rounds.

    Returns:
        The figures of each round, by name.
    """
    taken: dict[str, list[Figures]] = {name: [] for name in measures}
    for turn in range(rounds):
        for name, measure in measures.items():
            taken[name].append(measure(turn))
    return taken


def median_of(rounds: Iterable[Figures], figure: str) -> float:
    """Return the median of a figure over rounds."""
    return float(median(row[figure] for row in rounds))


def median_ratio(rounds: Iterable[Figures], others: Iterable[Figures], figure: str) -> float:
    """Return the median over rounds of the ratio of a figure to that of the others in the same round."""
    return float(median(row[figure] / other[figure] for row, other in zip(rounds, others, strict=True)))


def print_result(result: Figures, tables: Sequence[Table], as_json: bool) -> None:
    """Print a bench's result: one JSON document, or its tables."""
    if as_json:
        print(json.dumps(result, indent=2))
        return
    for title, head, rows in tables:
        columns = list(zip(head, *rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        numbers = [all(cell.lstrip("+-")[:1].isdigit() for cell in column[1:]) for column in columns]
        print(title)
        for row in [head, *rows] if any(head) else rows:
            aligned = (
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numbers, strict=True)
            )
            print("  ".join(["", *aligned]).rstrip())
