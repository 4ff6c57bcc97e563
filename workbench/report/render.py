"""A report as one HTML page: everything inside it, nothing to load, every text escaped."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..store.token_text import visible_label, visible_prose, visible_shares
from ..store.transcoded import Transcoded
from .charts import histogram_bars, histogram_lines, histogram_ticks, interval_reach
from .glossary import GLOSSARY
from .labels import natural_order
from .numbers import score_text
from .palette import NO_LABEL_COLOUR, SHADE_STEPS, label_colours, score_shade
from .quotes import quoted_parts


def _token(text: str, follows: bool = False) -> Markup:
    """A token's text, blanks and controls shown; a split character stands for each of its tokens, later ones dimmed.

    Where the token ``follows`` the one before it in running text, later ones show their share alone.
    """
    parts = Markup("")
    for shown, share in visible_shares(text):
        later = " later" if share and share[0] != "1" else ""
        shown = "" if later and follows else shown
        parts += Markup('<span class="share{}">{}<sub>{}</sub></span>').format(later, shown, share) if share else shown
    return parts


def _transcoded(model: dict[str, Any]) -> list[tuple[str, str]]:
    """How well a report's model stands for its teacher, in phrases with their terms; none of an ordinary one."""
    found = Transcoded.of_entry(model)
    return [] if found is None else found.phrases()


def _explanation(text: str) -> Markup:
    """An explanation, what it quotes as code."""
    code = Markup('<code class="quoted">{}</code>')
    return Markup("").join(code.format(part) if quoted else part for part, quoted in quoted_parts(visible_prose(text)))


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("workbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"visible": _token, "shown": visible_label, "prose": visible_prose, "natural": natural_order}
    made.filters["explanation"] = _explanation
    made.globals |= {
        "log1p": math.log1p,
        "interval_reach": interval_reach,
        "histogram_bars": histogram_bars,
        "histogram_lines": histogram_lines,
        "histogram_ticks": histogram_ticks,
        "score_shade": score_shade,
        "shade_steps": SHADE_STEPS,
        "no_label_colour": NO_LABEL_COLOUR,
        "glossary": GLOSSARY,
        "score_text": score_text,
        "transcoded": _transcoded,
    }
    return made


def render(template: str, content: dict[str, Any]) -> str:
    """The page of a report's content."""
    colours = label_colours(content["origin"]["labels"])
    return _environment().get_template(template).render(content, colours=colours)
