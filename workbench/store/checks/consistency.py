"""Whether the contents of a run's files are consistent, even if checksums in the manifest were made to fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...progress import Progress
from ..remote import Place
from ..schema import MANIFEST, group_name, index_name, part_name, routing_name
from ..token_text import load_tokenizer
from .lists import Lists
from .parts import Documents, check_documents, check_tokens, read_tokens
from .problem import about, expect
from .routing import check_index, read_routing
from .statistics import check_examples, check_experts, check_intervals, is_sample_rounded


def inconsistencies(path: Place, manifest: dict[str, Any], advance: Progress) -> list[str]:
    """One sentence for each contradiction in a complete run whose files exist and can be read.

    Checked are rows, order and keys of every file; tokens and offsets against the text, if they came from a tokenizer;
    every row of the routing and its index; and for every expert, its statistics, best and sampled tokens against each
    other, the tokens, and the routing, from which they are counted again. Where only the routing of some documents is
    kept, the counts are lower bounds.

    Args:
        path: of the run.
        manifest: its manifest, already checked by itself.
        advance: called with the tokens done.
    """
    problems: list[str] = []
    documents: list[Documents] = []
    tokenizer = None
    if manifest["tokenizer"] is not None:
        with about("tokenizer", problems):
            tokenizer = load_tokenizer(path / "tokenizer")
    for part in manifest["parts"]:
        with about(part_name("documents", part["part"]), problems):
            here, text = check_documents(path, manifest, part)
            documents.append(here)
            with about(part_name("tokens", part["part"]), problems):
                check_tokens(path, manifest, part, here, text, tokenizer)
    if not problems:
        with about(MANIFEST, problems):
            _check_whole(manifest, documents)
    if not problems:
        for group in range(len(manifest["model"]["groups"])):
            problems += _check_group(path, manifest, group, documents, advance)
    return problems


def _check_whole(manifest: dict[str, Any], documents: list[Documents]) -> None:
    """Raises Wrong where the parts together contradict the manifest."""
    found = np.unique(np.concatenate([here.label for here in documents]))
    expect(len(found) == len(manifest["labels"]), "it has labels without documents")
    bos = np.concatenate([here.bos[here.bos >= 0] for here in documents])
    expect((bos == bos[:1]).all(), "documents have different start-of-text tokens")


def _check_group(
    path: Place, manifest: dict[str, Any], group: int, documents: list[Documents], advance: Progress
) -> list[str]:
    """Problems of the files of a group."""
    from .recount import Recount  # torch

    problems: list[str] = []
    label_rows = np.zeros(len(manifest["labels"]), np.int64)
    for here in documents:
        np.add.at(label_rows, here.label, here.tokens)
    first, copied = (np.concatenate([getattr(here, name) for here in documents]) for name in ("first", "copied"))
    with about(group_name("experts", group), problems):
        experts = check_experts(path, manifest, group, label_rows)
        with about(group_name("examples", group), problems):
            examples = check_examples(path, manifest, group, experts, first, copied)
        with about(group_name("intervals", group), problems):
            intervals = check_intervals(path, manifest, group, experts, first, copied)
    marks = []
    for part in manifest["parts"]:
        with about(index_name(part["part"], group), problems):
            marks.append(check_index(path, manifest, part, group))
    if problems:  # nothing sound to compare the routing with
        return problems
    model = manifest["model"]
    recount = Recount(manifest, experts, examples, intervals)
    listed = {"examples": examples, "intervals": intervals}
    lists = Lists(experts, listed, model["heads"], model["keys"], is_sample_rounded(manifest))
    for part, here, mark in zip(manifest["parts"], documents, marks, strict=True):
        with about(routing_name(part["part"], group), problems):
            begin = part["rows"][0]
            first_listed = np.where(here.copied, -1, here.first)  # tokens of copies are in no list
            label, start, kept = (here.of_rows(values) for values in (here.label, first_listed, here.kept))
            for row, *sides in read_routing(path, manifest, part, group, kept, mark):
                rows = slice(row, row + len(sides[0]))
                recount.take(begin + row, sides, label[rows], start[rows], kept[rows])
                lists.look_at_routing(begin + row, sides, kept[rows])
                advance(len(sides[0]))
            lists.look_at_rows(begin, read_tokens(path, part), label)
    if problems:
        return problems
    checks = {
        "experts": (recount.check_experts, lists.check_sums),
        "examples": (lambda: lists.check("examples"), recount.check_examples),
        "intervals": (lambda: lists.check("intervals"), recount.check_intervals),
    }
    for folder, both in checks.items():
        with about(group_name(folder, group), problems):
            for check in both:
                check()
    return problems
