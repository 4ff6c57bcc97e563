from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.errors import UnsupportedError
from workbench.store import Run
from workbench.studies.control import Fishery, constant_mortality, load_policy, play
from workbench.studies.control.corpus import Visits, episode_corpus, visits
from workbench.studies.control.regimes import REGIMES, regimes
from workbench.studies.control.tokens import make_tokenizer, populations_of, state_ids


def test_visits_are_what_episodes_pass_through() -> None:
    fishery, policy = Fishery.of(3), constant_mortality(0.35, 0.3)
    seen, outcome = visits(fishery, policy, 5, seed=4), play(fishery, policy, 5, seed=4)
    np.testing.assert_array_equal(np.bincount(seen.episode), outcome.steps)
    for episode in range(5):
        here = seen.episode == episode
        np.testing.assert_array_equal(seen.step[here], np.arange(outcome.steps[episode]))
        if outcome.whole[episode]:  # else the penalty is part of the reward
            np.testing.assert_allclose(seen.harvest[here].sum(), outcome.reward[episode])


def _seen(z: list[float], episode: list[int]) -> Visits:
    populations = np.array([[0.6, 0.6, value] for value in z])
    step = np.array([sum(e == episode[at] for e in episode[:at]) for at in range(len(z))])
    return Visits(np.array(episode), step, populations, np.zeros((len(z), 2)), np.zeros(len(z)))


def test_documents_are_stretches_of_an_episode_in_one_regime() -> None:
    corpus = episode_corpus(Fishery.of(3), _seen([0.6, 0.6, 0.2, 0.2, 0.2], [0, 0, 0, 1, 1]))
    assert corpus["source"] == ["episode 0, steps 0 to 1", "episode 0, steps 2 to 2", "episode 1, steps 0 to 1"]
    assert corpus["label"] == [REGIMES[5], REGIMES[1], REGIMES[1]]
    assert corpus["text"][1] == "X=0.61 Y=0.61 Z=0.21"


def test_texts_of_several_states_are_their_tokens() -> None:
    fishery = Fishery.of(3)
    seen = visits(fishery, constant_mortality(0.2, 0.2), 1, seed=0)
    tokenizer = make_tokenizer()
    ids = [
        token
        for text in episode_corpus(fishery, seen)["text"]
        for token in tokenizer(text, verbose=False)["input_ids"][1:]
    ]
    np.testing.assert_array_equal(np.array(ids).reshape(-1, 3), state_ids(fishery, seen.populations)[:, 1:])


def test_a_fishery_without_a_predator_has_no_regimes() -> None:
    fishery = Fishery.of(1)
    with pytest.raises(UnsupportedError, match="no regimes"):
        episode_corpus(fishery, visits(fishery, constant_mortality(0.05), 1, seed=0))


def test_labels_of_the_run_hold_for_every_state(policy_run: Run) -> None:
    states = populations_of(policy_run.token_column.astype(np.int64).reshape(-1, 3))
    label = np.repeat(policy_run.documents["label"].to_numpy(), policy_run.documents["tokens"])[::3]
    assert [REGIMES[number] for number in regimes(states)] == label.tolist()


def test_tokens_are_routed_in_the_run_as_in_the_policy(policy_run: Run) -> None:
    """The policy reads the start-of-text token and one state; the documents of the run hold many."""
    model, _ = load_policy(policy_run.model_path)
    longest = policy_run.documents["tokens"].idxmax()
    first, count = (int(policy_run.documents.loc[longest, name]) for name in ("row", "tokens"))
    assert count > 30  # ten states
    ids = policy_run.token_column[first : first + count].astype(np.int64).reshape(-1, 3)
    read = torch.from_numpy(np.concatenate([np.zeros((len(ids), 1), np.int64), ids], 1))
    with torch.no_grad():
        probs = model(read, output_router_probs=True).router_probs
    for group, (g1, g2) in enumerate(probs):
        stored = policy_run.routing(np.arange(first, first + count), group).dense()
        for ours, theirs in zip(stored, (g1, g2), strict=True):
            torch.testing.assert_close(ours.float(), theirs[:, 1:].flatten(0, 1), rtol=1e-3, atol=1e-4)
