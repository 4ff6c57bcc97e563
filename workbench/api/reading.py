"""How requests name prompts and edits: both as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from ..analysis.edited import check_labels, edited_experts
from ..store.edit_text import PromptEdit, read_edit_text
from .source import Source

if TYPE_CHECKING:
    from ..analysis import Prompt, PromptReading


def read_edit(source: Source, text: str) -> PromptEdit:
    """The edit that a text writes; see ``read_edit_text`` and ``check_labels``."""
    return check_labels(source.run, read_edit_text(source.run, text), source.analysed)


def experts_of(source: Source, edit: PromptEdit, reading: PromptReading | None = None) -> pd.DataFrame:
    """The experts that an edit names, and their factors: see ``edited_experts``."""
    from ..search import experts_found

    return edited_experts(
        source.run,
        edit,
        source.experts,
        reading,
        lambda chosen: experts_found(source.run, chosen, source.model),
    )


def tokenise(source: Source, text: str) -> Prompt:
    """The tokens of a text; the model need not be loaded."""
    from ..analysis.attribution.prompt import Prompt

    return Prompt.tokenise(source.tokenizer(), text, source.context_length)


def read_unedited(source: Source, prompt: Prompt) -> PromptReading:
    """A prompt as the model reads it without an edit."""
    from ..analysis.attribution.prompt import read_prompt

    return read_prompt(source.model(), prompt)
