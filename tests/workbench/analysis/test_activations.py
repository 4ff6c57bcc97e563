"""Active pairs read from a run's routing: against dense scores, and in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cuda_ext.routing import Routing
from workbench.analysis import activations
from workbench.analysis.activations import CrossTable, active_pairs, read_activations
from workbench.store import Run


@pytest.mark.parametrize(("group", "max_pairs"), [(0, 2**24), (1, 500)])
def test_read_activations_equal_dense_scores(
    run: Run, monkeypatch: pytest.MonkeyPatch, group: int, max_pairs: int
) -> None:
    """In one piece or in several, that cover every expert once; then their sums by a number of the tokens."""
    monkeypatch.setattr(activations, "MAX_PAIRS", max_pairs)
    monkeypatch.setattr(activations, "ROUTING_ROWS", 300)
    g1, g2 = run.routing(slice(None), group).dense()
    score = torch.einsum("thi,thj->tij", g1, g2).flatten(1).T.numpy()  # (experts, tokens)
    document = np.arange(run.tokens_total) // 37
    token = run.tokens()["token"].to_numpy()
    counted: list[int] = []
    pieces = list(read_activations(run, group, counted.append))
    assert (len(pieces) > 1) == (max_pairs == 500)
    covered = np.concatenate([piece.block.ids(run.num_keys) for piece in pieces])
    assert sorted(covered.tolist()) == list(range(run.num_keys**2))
    assert sum(counted) == sum(len(piece.row) for piece in pieces) == (score > 0).sum()
    for piece in pieces:
        assert (np.lexsort([piece.row, piece.expert]) == np.arange(len(piece.row))).all()
        assert piece.score == pytest.approx(score[piece.expert, piece.row], rel=1e-5)
        covered = piece.block.ids(run.num_keys)
        table, (expert, number, count) = piece.by(document), piece.counts(token)
        for numbers, found in (
            (document, (table.expert, table.number, table.tokens)),
            (token, (expert, number, count)),
        ):
            one_hot = numbers[:, None] == np.arange(numbers.max() + 1)
            dense = np.zeros((run.num_keys**2, one_hot.shape[1]), int)
            dense[found[:2]] = found[2]
            assert (dense[covered] == (score > 0)[covered] @ one_hot.astype(int)).all()
        masses = score @ (document[:, None] == np.arange(document.max() + 1))
        assert table.mass == pytest.approx(masses[table.expert, table.number], rel=1e-4)


def test_active_pairs_are_the_routing_s_pairs(run: Run) -> None:
    routing = run.routing(slice(0, 200), 0)
    token, expert, score = (values.numpy() for values in routing.pairs())
    order = np.lexsort([token, expert])
    ((found_expert, found_token, found_score),) = active_pairs(routing)
    assert (found_expert == expert[order]).all()
    assert (found_token == token[order]).all()
    assert found_score == pytest.approx(score[order], rel=1e-6)


def test_active_pairs_of_many_keys_are_packed_a_few_tokens_at_once() -> None:
    """4,000 keys: 24 bits for an expert, 32 for a score, so 128 tokens are packed at once."""
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(0, 4000, (2, 300, 2, 3), generator=generator).sort(-1).values.to(torch.int16)
    probs, counts = torch.rand(2, 300, 2, 3, generator=generator), torch.full((300, 2), 3, dtype=torch.int32)
    routing = Routing(indices[0], probs[0], counts, indices[1], probs[1], counts, num_keys=4000)
    pieces = list(active_pairs(routing))
    assert [(piece[1].min(), piece[1].max()) for piece in pieces] == [(0, 127), (128, 255), (256, 299)]
    token, expert, score = (values.numpy() for values in routing.pairs())
    order = np.lexsort([token, expert, token // 128])
    assert (np.concatenate([piece[0] for piece in pieces]) == expert[order]).all()
    assert np.concatenate([piece[2] for piece in pieces]) == pytest.approx(score[order], rel=1e-6)


def test_cross_table_merged_sums_the_numbers_that_are_one() -> None:
    table = CrossTable(
        np.array([2, 2, 2, 5, 5]), np.array([0, 1, 3, 1, 2]), np.array([1, 2, 4, 8, 16], np.float32), np.arange(1, 6)
    )
    same = table.merged(np.arange(4))
    assert same.number.tolist() == table.number.tolist()
    merged = table.merged(np.array([1, 0, 2, 1]))
    assert list(zip(merged.expert, merged.number, merged.mass, merged.tokens, strict=True)) == [
        (2, 0, 2, 2),
        (2, 1, 5, 4),
        (5, 0, 8, 4),
        (5, 2, 16, 5),
    ]
    assert table.only(np.array([True, False, False, True])).tokens.tolist() == [1, 3]
