"""The experts of a typed text: what the model's routing of it adds up to, over all its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..analysis.attribution.prompt import Prompt, PromptReading, read_prompt
from ..analysis.run_model import run_tokenizer
from ..errors import BadInputError
from ..report.origin import analysis
from ..store.runfiles import check_count

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

SHOWN = 50
By = Literal["sum", "max", "frequency"]


@dataclass(frozen=True)
class TextExperts:
    """The experts of a text and where in it they are active.

    Attributes:
        tokens: the text of each token; the start-of-text token is left out.
        table: one row per expert, best first: see ``experts_of_text``.
        scores: (experts, tokens) float32 routing scores of these experts; 0 where not active.
        total: number of experts active at some token of the text, those left out for their density included.
    """

    tokens: list[str]
    table: pd.DataFrame
    scores: NDArray[np.float32]
    total: int


def experts_of_text(
    run: Run,
    model: MonetForCausalLM,
    text: str,
    by: By = "sum",
    density: float = 1.0,
    limit: int = SHOWN,
    *,
    chat: bool = False,
) -> TextExperts:
    """Return the experts that are active on a text, ranked over all its tokens.

    Args:
        run: an opened run: what the experts do in its corpus is beside what they do in the text.
        model: the run's model.
        text: what the model reads.
        by: ``sum`` or ``max`` of an expert's routing scores over the tokens, or ``frequency``, the number of tokens at
            which it is active; equals by sum.
        density: leaves out experts active at a larger share of the corpus's tokens.
        limit: number of experts, at most.
        chat: put the text into the tokenizer's chat template, whose tokens count like the text's.

    Returns:
        ``TextExperts``, whose table has the columns

        - group, expert
        - sum, max: of its scores over the tokens of the text.
        - frequency: number of tokens at which it is active.
        - density: share of the corpus's tokens at which it is active.
        - label: the label it is specialised in, or ``""``.
        - confirmed: whether chance does not explain that; False before `monet analyze`.

    Raises:
        BadInputError: the text is empty or longer than the model's context, or ``by``, ``density`` or ``limit`` makes
            no sense.
        UnsupportedError: the run has no tokenizer, or that has no chat template for ``chat``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis.run_model import load_run_model
        >>> from workbench.search import experts_of_text
        >>> run = open_run("runs/demo")
        >>> found = experts_of_text(run, load_run_model(run), "public static void", limit=4)
        >>> found.tokens, found.scores.shape
        (['public', ' static', ' void'], (4, 3))
        >>> found.table["sum"].is_monotonic_decreasing
        True
    """
    if by not in get_args(By):
        raise BadInputError(f"experts are ranked by {', '.join(get_args(By))}; got {by!r}.")
    if not 0 < density <= 1:
        raise BadInputError(f"a density is a share of the corpus, above 0 and up to 1; got {density}.")
    check_count("limit", limit)
    prompt = Prompt.tokenise(run_tokenizer(run), text, model.config.max_position_embeddings, chat=chat)
    reading = read_prompt(model, prompt)
    found = [_of_group(run, reading, group) for group in run.groups]
    table = pd.concat([table for table, _ in found], ignore_index=True)
    pairs = pd.concat([pairs for _, pairs in found], ignore_index=True)
    order = list(dict.fromkeys([by, "sum", "group", "expert"]))
    ascending = [name in ("group", "expert") for name in order]
    shown = table[table["density"] <= density].sort_values(order, ascending=ascending).head(limit)
    shown = shown.reset_index(drop=True)
    listed = pairs.merge(shown[["group", "expert"]].reset_index(names="at"), on=["group", "expert"])
    scores = np.zeros((len(shown), len(prompt.shown)), np.float32)
    scores[listed["at"], listed["token"]] = listed["score"]
    return TextExperts(prompt.shown, shown, scores, len(table))


def _of_group(run: Run, reading: PromptReading, group: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The active experts of a group, and every pair of a token and an expert that is active there."""
    layer = reading.forward.model.config.routing_groups[group][0]
    routing = reading.forward.record.layers[layer].routing[int(reading.prompt.bos) :]
    columns = zip(("token", "expert", "score"), routing.pairs(), strict=True)
    pairs = pd.DataFrame(
        {
            name: values.float().numpy(force=True) if name == "score" else values.numpy(force=True)
            for name, values in columns
        }
    )
    table = pairs.groupby("expert")["score"].agg(["sum", "max", "size"]).rename(columns={"size": "frequency"})
    everywhere = run.experts(group, ("tokens",))["tokens"].reindex(table.index, fill_value=0)
    table["density"] = everywhere / run.tokens_total
    derived = analysis(run, group)
    if derived is None:
        table = table.assign(label="", confirmed=False)
    else:
        known = derived[["specialised", "confirmed"]].reindex(table.index)
        table["label"] = known["specialised"].astype(object).fillna("").astype(str)
        table["confirmed"] = known["confirmed"].astype(object).fillna(False).astype(bool)
    table = table.reset_index()
    table.insert(0, "group", group)
    return table, pairs.assign(group=group)
