"""Banks of experts: where they start, how they route, what counts as active."""

from __future__ import annotations

import pytest
import torch

from cuda_ext import Routing
from monet_model import MonetConfig
from workbench.transcode.bank import Bank, KeyCount, active_parameters, key_parameters
from workbench.transcode.imitate import Lesson, bank_inputs

SHAPE = {"hidden_size": 32, "num_attention_heads": 1, "moe_experts": 32, "moe_dim": 4, "moe_heads": 2, "moe_topk": 4}


@pytest.fixture(params=["vertical", "horizontal"])
def bank(request: pytest.FixtureRequest, lesson: Lesson) -> Bank:
    torch.manual_seed(0)
    return Bank(MonetConfig(**SHAPE, moe_decompose=request.param), lesson.places, lesson.scales)


def test_a_bank_starts_near_the_mean_output(bank: Bank, lesson: Lesson) -> None:
    x = next(lesson.sample())
    unexplained = lesson.scales.unexplained(bank(x)[0], lesson.teacher.outputs(x, lesson.layers))
    torch.testing.assert_close(unexplained, torch.ones(2), rtol=0, atol=0.1)


def test_layers_of_a_group_share_the_routing_of_its_first(lesson: Lesson) -> None:
    x = next(lesson.sample())
    shared = Bank(MonetConfig(**SHAPE), [(0, 1)], lesson.scales)
    assert len(shared.routers) == len(shared(x)[1]) == 1
    changed = x.clone()
    changed[0] += 1
    assert not torch.equal(shared(changed)[0][1], shared(x)[0][1])  # by its routing alone
    apart = Bank(MonetConfig(**SHAPE), [(0,), (1,)], lesson.scales).eval()
    assert torch.equal(apart(changed)[0][1], apart(x)[0][1])


def test_statistics_are_those_of_all_tokens(bank: Bank, lesson: Lesson) -> None:
    batches = [bank_inputs(bank, x) for x in lesson.sample()]
    bank.set_statistics(batches)
    router = bank.routers[0]
    seen = torch.cat([batch[0] for batch in batches]) / bank.seen_scale[0]
    for z, norm in zip(router.logits(seen), (router.norm1, router.norm2), strict=True):
        var, mean = torch.var_mean(z.double().transpose(0, 1).flatten(1), 1)
        torch.testing.assert_close(norm.running_mean, mean.float())
        torch.testing.assert_close(norm.running_var, var.float())


def test_a_key_counts_once_however_many_heads_choose_it(bank: Bank) -> None:
    g = torch.zeros(2, 2, 32)
    g[0, :, 3] = 1.0  # both heads choose one key
    g[1, 0, 3] = g[1, 1, 4] = 1.0
    counted = active_parameters(bank, [Routing.from_dense(g, g)])
    assert counted.tolist() == [1.5 * sum(key_parameters(bank.experts[0]))] * 2


def test_parameters_of_keys_are_all_of_the_layers(bank: Bank) -> None:
    first, second = key_parameters(bank.experts[0])
    assert 32 * (first + second) == sum(p.numel() for p in bank.experts[0].parameters())


def test_dead_keys_are_revived_and_counted_anew(bank: Bank) -> None:
    optimizer = torch.optim.AdamW(bank.parameters())
    used = KeyCount(bank)
    g = torch.zeros(8, 2, 32)
    g[:, :, 1:] = 1 / 31  # key 0 of each head and set is never used
    used.add([Routing.from_dense(g, g)])
    before = bank.routers[0].w1.weight.detach().clone()
    assert used.revive(optimizer, 0) == 4
    changed = (bank.routers[0].w1.weight != before).any(1).nonzero()[:, 0].tolist()
    assert changed == [0, 32]
    assert float(used.counts[0].sum()) == 0
