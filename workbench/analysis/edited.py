"""The experts that an edit written as text names, and the edit as the model takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from ..errors import BadInputError, NotAnalysedError, shell_command
from ..store.address import Expert
from ..store.edit_text import LabelExperts, PromptEdit, SearchExperts, TopExperts

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM, PositionedEdit

    from ..store import Run
    from .attribution.prompt import Prompt, PromptReading

Experts = Callable[[int], pd.DataFrame]
Search = Callable[[SearchExperts], pd.DataFrame]
MOST_EDITS = 32  # kinds of tokens that an edit tells apart: the model adds up as many sums


def check_labels(run: Run, edit: PromptEdit, analysed: bool) -> PromptEdit:
    """The edit itself.

    Raises:
        NotAnalysedError: it names a label, and the run has not been analysed.
    """
    if not analysed and any(isinstance(row.experts, LabelExperts) for row in edit.rows):
        raise NotAnalysedError(f"experts have labels once you have run `{shell_command('analyze', run.path)}`.")
    return edit


def edited_experts(
    run: Run, edit: PromptEdit, experts: Experts, reading: PromptReading | None = None, search: Search | None = None
) -> pd.DataFrame:
    """The experts that the rows of an edit name.

    Args:
        run: the run whose experts they are.
        edit: the edit.
        experts: gives the active experts of a group, indexed by id, with the columns specialised (a label),
            confirmed and ratio; asked only where the edit names a label.
        reading: the unedited prompt, whose most active experts ``top`` names.
        search: gives the experts that a search finds, with the columns group and expert; asked only where the edit
            names a search.

    Returns:
        One row per expert, and one more where the edit scales it differently at some tokens, in no particular order but
        that of rows of the edit of which the later one decides: row (index of the row of the edit), group, expert and
        factor.

    Raises:
        BadInputError: ``top`` without a prompt, or at a token that the prompt does not have; or a search that cannot be
            made here.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_analysis
        >>> from workbench.analysis.edited import edited_experts
        >>> from workbench.store.edit_text import read_edit_text
        >>> run = open_run("runs/demo")
        >>> edit = read_edit_text(run, "0:17=0, label:lua=0.5")
        >>> named = edited_experts(run, edit, lambda group: read_analysis(run, group))
        >>> named.columns.tolist(), named.query("group == 0 and expert == 17")["factor"].tolist()
        (['row', 'group', 'expert', 'factor'], [0.0])
    """
    sets, single = [], []
    for at, row in enumerate(edit.rows):
        if isinstance(row.experts, Expert):
            single.append(pd.DataFrame({"group": [row.experts.group], "expert": row.experts.id}).assign(row=at))
        elif isinstance(row.experts, LabelExperts):
            sets += [_specialised(experts(group), row.experts, group).assign(row=at) for group in run.groups]
        elif isinstance(row.experts, TopExperts):
            sets.append(_most_active(row.experts, reading).assign(row=at))
        elif search is not None:
            sets.append(search(row.experts).assign(row=at))
        else:
            raise BadInputError(f"{str(row.experts)!r} names experts of a search, which is not made here.")
    if not edit.rows:
        return pd.DataFrame({"row": [], "group": [], "expert": [], "factor": []}).astype({"row": int})
    named = pd.concat(sets + single, ignore_index=True)
    kept = ~named.assign(places=[str(edit.rows[at].places) for at in named["row"]]).duplicated(
        ["group", "expert", "places"], keep="last"
    )
    named = named[kept]
    return named.assign(factor=[edit.rows[at].factor for at in named["row"]])[["row", "group", "expert", "factor"]]


def number_of_experts(named: pd.DataFrame) -> int:
    """How many experts the table of ``edited_experts`` names."""
    return len(named.drop_duplicates(["group", "expert"]))


def _specialised(table: pd.DataFrame, chosen: LabelExperts, group: int) -> pd.DataFrame:
    kept = table["specialised"] == chosen.label
    if chosen.confirmed:
        kept &= table["confirmed"]
    if chosen.ratio:
        kept &= table["ratio"] >= chosen.ratio
    return pd.DataFrame({"group": group, "expert": table.index[kept]})


def _most_active(chosen: TopExperts, reading: PromptReading | None) -> pd.DataFrame:
    if reading is None:
        raise BadInputError(f"{str(chosen)!r} names the most active experts of a prompt; give the prompt too.")
    tokens = len(reading.prompt.shown)
    if chosen.at > tokens:
        raise BadInputError(f"{str(chosen)!r} names token {chosen.at:,} of the prompt, which has {tokens:,}.")
    return reading.most_active(chosen.n, chosen.at - 1 if chosen.at else None)[["group", "expert"]]


def model_edit(
    edit: PromptEdit, experts: pd.DataFrame, model: MonetForCausalLM, prompt: Prompt
) -> ExpertEdit | PositionedEdit:
    """The edit as the model takes it when it reads a prompt and writes on.

    Args:
        edit: the edit.
        experts: the experts that it names, as ``edited_experts`` returns them.
        model: the model.
        prompt: what it reads, which tells the places of tokens.

    Raises:
        BadInputError: the rows hold at so many different tokens that the model would take too long.
    """
    from monet_model import PositionedEdit
    from monet_model.positions import NO_END, read_spans, within

    if edit.holds_everywhere:
        return expert_edit(experts, model)
    tokens, bos = len(prompt.shown), prompt.bos
    held = [read_spans(slice(None) if row.places is None else row.places.slices(tokens, bos)) for row in edit.rows]
    bounds = sorted({0} | {bound for spans in held for span in spans for bound in span if bound < NO_END})
    by_rows: dict[tuple[int, ...], list[slice]] = {}
    for start, stop in zip(bounds, [*bounds[1:], None], strict=True):
        rows = tuple(at for at, spans in enumerate(held) if within(start, spans))
        by_rows.setdefault(rows, []).append(slice(start, stop))
    if len(by_rows) > MOST_EDITS:
        raise BadInputError(
            f"the edit differs between {len(by_rows):,} kinds of tokens; the limit is {MOST_EDITS}. Let more of its "
            "rows hold at the same tokens."
        )
    parts = []
    for rows, spans in by_rows.items():
        here = experts[experts["row"].isin(rows)].drop_duplicates(["group", "expert"], keep="last")
        parts.append((expert_edit(here, model), tuple(spans)))
    return PositionedEdit(tuple(part for part in parts if len(part[0])))


def file_edit(edit: PromptEdit, experts: pd.DataFrame, model: MonetForCausalLM) -> ExpertEdit:
    """The edit as it is kept in a file.

    Raises:
        BadInputError: it holds at some tokens only, which a file does not say.
    """
    if not edit.holds_everywhere:
        row = next(row for row in edit.rows if row.places is not None)
        raise BadInputError(
            f"{str(row)!r} holds at some tokens only, and an edit file holds at every token; leave out @{row.places}, "
            "or keep the edit under a name."
        )
    return expert_edit(experts, model)


def expert_edit(experts: pd.DataFrame, model: MonetForCausalLM) -> ExpertEdit:
    """The factors of a table that ``edited_experts`` returned, each expert once."""
    from monet_model import ExpertEdit

    return ExpertEdit.from_frame(model, experts[experts["factor"] != 1])
