"""The edit in the address of a prompt: which experts it names in this run, and as the model takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ..analysis import edited
from ..analysis.edited import expert_edit as expert_edit
from ..analysis.edited import file_edit as file_edit
from ..analysis.edited import model_edit as model_edit
from ..analysis.edited import number_of_experts as number_of_experts
from ..store.edit_text import PromptEdit, read_edit_text

if TYPE_CHECKING:
    from ..analysis import PromptReading
    from .context import Context


def read_edit(query: Mapping[str, str], ctx: Context) -> PromptEdit:
    """The edit that the fields of an address ask for: ``edit``, and ``without``, which names labels to remove.

    Raises:
        BadInputError: a row that cannot be read.
        NotFoundError: an expert or label that the run does not have.
        NotAnalysedError: a label, of a run that has not been analysed.
    """
    edit = read_edit_text(ctx.run, query.get("edit", ""), query.get("without", ""))
    return edited.check_labels(ctx.run, edit, ctx.analysed)


def edited_experts(edit: PromptEdit, ctx: Context, reading: PromptReading | None = None) -> pd.DataFrame:
    """The experts that the rows of an edit name: see ``workbench.analysis.edited``."""
    from ..search import experts_found

    return edited.edited_experts(
        ctx.run, edit, ctx.experts, reading, lambda chosen: experts_found(ctx.run, chosen, ctx.model)
    )
