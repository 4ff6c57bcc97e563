"""Revival of dead keys."""

from __future__ import annotations

from typing import Any

import torch

from monet_model.revive import KeyUse, revive


def test_revive_copies_used_keys_over_dead_ones(make_model: Any) -> None:
    torch.manual_seed(0)
    model = make_model(num_hidden_layers=2).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.randint(61, (2, 16))
    use = KeyUse(model)
    with use.counting(model):
        out = model(input_ids=ids, labels=ids, output_router_probs=True)
    out.loss.backward()
    optimizer.step()
    model(input_ids=ids)  # outside, nothing is counted
    g1, g2 = out.router_probs[0]
    assert torch.equal(use.counts[0], torch.stack([(g > 0).sum((0, 1)) for g in (g1, g2)]))
    use.counts[0][0, 1] = torch.tensor([5.0, 0, 0, 9, 2, 2, 2, 2])  # keys 1 and 2 of set 1, head 1
    use.counts[0][0, 0] = use.counts[0][1] = 1.0
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert revive(model, optimizer, use, seed=3) == 2
    weight, old = model.model.layers[0].router.w1.weight, before["model.layers.0.router.w1.weight"]
    changed = (weight != old).any(-1).nonzero()[:, 0]
    assert changed.tolist() == [9, 10]
    donors = torch.cdist(weight[9:11], old[8:16]).argmin(-1)
    assert not set(donors.tolist()) & {1, 2}
    state = optimizer.state[weight]
    assert not state["exp_avg"][9:11].any()
    assert state["exp_avg"][8].any()
    others = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert others == {"model.layers.0.router.w1.weight"}
