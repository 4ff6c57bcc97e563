"""A report as one HTML page: everything inside it, nothing to load, every text escaped."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..store.token_text import visible
from .charts import histogram_bars, histogram_lines, histogram_ticks, interval_reach
from .glossary import GLOSSARY
from .numbers import score_text
from .palette import NO_LABEL_COLOUR, label_colours, score_shade


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("workbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["visible"] = visible
    made.globals |= {
        "log1p": math.log1p,
        "interval_reach": interval_reach,
        "histogram_bars": histogram_bars,
        "histogram_lines": histogram_lines,
        "histogram_ticks": histogram_ticks,
        "score_shade": score_shade,
        "no_label_colour": NO_LABEL_COLOUR,
        "glossary": GLOSSARY,
        "score_text": score_text,
    }
    return made


def render(template: str, content: dict[str, Any]) -> str:
    """The page of a report's content."""
    colours = label_colours(list(content["origin"]["labels"]))
    return _environment().get_template(template).render(content, colours=colours)
