"""A clone does what its teacher does, where its own episodes lead."""

from __future__ import annotations

import numpy as np

from workbench.studies.control import Fishery, clone, constant_mortality, make_model, measure, monet_policy, visited


def test_states_of_episodes_are_all_there_in_order() -> None:
    fishery, rule = Fishery.of(3), constant_mortality(0.1, 0.1)
    states = visited(fishery, rule, 4, seed=0)
    assert states.shape == (800, 3)
    first = states.reshape(200, 4, 3)
    assert np.abs(first[0] - fishery.start).max() < 0.1
    assert np.abs(np.diff(first, axis=0)).max() < 0.6


def test_a_clone_follows_its_teacher() -> None:
    fishery, teacher = Fishery.of(2), constant_mortality(0.3)
    model = make_model(0)
    notes: list[str] = []
    clone(
        model, teacher, fishery, rounds=2, episodes=4, steps=40, batch=256, progress=lambda _n, note: notes.append(note)
    )
    states = visited(fishery, monet_policy(model, fishery), 4, seed=9)
    assert np.abs(monet_policy(model, fishery)(states) - 0.3).mean() < 0.05
    assert len(notes) == 2
    assert abs(measure(fishery, monet_policy(model, fishery), 50).reward - measure(fishery, teacher, 50).reward) < 2
    assert not model.lm_head.weight[:193].any()
