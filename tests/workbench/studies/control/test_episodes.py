"""Episodes side by side: independent of each other, counted right, and like those that the paper's authors released."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.studies.control import Episodes, Fishery, constant_escapement, constant_mortality, play
from workbench.studies.control.episodes import play_each
from workbench.studies.control.fishery import Array


def test_an_episode_is_the_same_alone_and_beside_others() -> None:
    fishery = Fishery.of(3)
    together = play(fishery, constant_mortality(0.3, 0.25), 8, seed=4)
    for number in range(8):
        alone = play(fishery, constant_mortality(0.3, 0.25), 1, seed=4, first=number)
        assert alone.reward[0] == together.reward[number]
        assert alone.steps[0] == together.steps[number]


def test_a_reward_is_the_harvest_and_a_penalty_at_the_end() -> None:
    fishery = Fishery.of(3)
    episodes, harvested, ended = Episodes(fishery, 40, seed=0), np.zeros(40), np.zeros(40, np.int64)
    running = np.arange(40)
    while len(running):
        before = episodes.populations
        step = episodes.step(np.full((len(running), 2), 0.4))
        assert step.harvest == pytest.approx(0.4 * before[:, :2])
        harvested[running] += step.harvest.sum(1)
        ended[running[step.ended]] = episodes.time[step.ended]
        episodes.keep(~step.ended)
        running = running[~step.ended]
    outcome = play(fishery, constant_mortality(0.4, 0.4), 40, seed=0)
    assert (outcome.steps == ended).all()
    assert not outcome.whole.any()  # so much is taken that every episode collapses
    assert outcome.reward == pytest.approx(harvested - 100 / outcome.steps)


def test_an_episode_that_lasts_has_200_steps_and_no_penalty() -> None:
    outcome = play(Fishery.of(3), constant_mortality(0.0, 0.0), 5, seed=0)
    assert outcome.whole.all()
    assert (outcome.steps == 200).all()
    assert (outcome.reward == 0).all()


def test_restarted_and_resumed_episodes_are_those_of_their_numbers() -> None:
    fishery = Fishery.of(4)
    episodes = Episodes(fishery, 3, seed=1)
    episodes.step(np.zeros((3, 2)))
    episodes.restart(np.array([1]), first=7)
    other = Episodes(fishery, 3, seed=1)
    other.move_to(episodes.numbers, episodes.time, episodes.populations)
    assert episodes.populations[1].tolist() == Episodes(fishery, 1, seed=1, first=7).populations[0].tolist()
    for _ in range(3):
        assert episodes.step(np.full((3, 2), 0.2)).reward.tolist() == other.step(np.full((3, 2), 0.2)).reward.tolist()


def test_settings_of_a_rule_are_compared_on_the_same_episodes() -> None:
    def rule(populations: Array, settings: Array) -> Array:
        return settings

    fishery, settings = Fishery.of(3), np.array([[0.3, 0.25], [0.1, 0.4]])
    outcome = play_each(fishery, rule, settings, 20, seed=5)
    for row, setting in enumerate(settings):
        alone = play(fishery, constant_mortality(*setting), 20, seed=5)
        assert outcome.reward[row].tolist() == alone.reward.tolist()
        assert outcome.whole[row].tolist() == alone.whole.tolist()


@pytest.mark.parametrize(
    ("model", "rule", "reward", "whole"),
    [
        (3, constant_mortality(0.30, 0.25), 62.3, 0.75),
        (3, constant_escapement(0.38, 0.52), 48.4, 0.57),
        (4, constant_mortality(0.13, 0.27), 44.5, 0.80),
    ],
)
def test_rules_do_as_in_the_released_data(model: int, rule: object, reward: float, whole: float) -> None:
    # Released: 100 episodes each, whose rewards lack the last step with its penalty, 0.6 on average. Their mean is
    # known to about 1.3, their share to 0.05.
    outcome = play(Fishery.of(model), rule, 1000, seed=11)  # type: ignore[arg-type]
    assert outcome.reward.mean() == pytest.approx(reward - 0.6, abs=2.5)
    assert outcome.whole.mean() == pytest.approx(whole, abs=0.1)


def test_the_noise_of_the_text_gives_nothing_like_the_released_figures() -> None:
    # The text says a variance of 0.05; the code takes a standard deviation of 0.1.
    text = play(Fishery.of(3, noise=0.05**0.5), constant_mortality(0.30, 0.25), 300, seed=0)
    assert text.reward.mean() < 25
    half = play(Fishery.of(3, noise=0.05), constant_mortality(0.30, 0.25), 300, seed=0)
    assert half.whole.mean() > 0.97


def test_practically_every_collapse_is_the_predators() -> None:
    episodes, collapsed = Episodes(Fishery.of(3), 400, seed=2), []
    while len(episodes):
        step = episodes.step(np.tile([0.30, 0.25], (len(episodes), 1)))
        collapsed.append(episodes.populations[step.collapsed])
        episodes.keep(~step.ended)
    assert (np.concatenate(collapsed)[:, 2] <= 0.05).mean() > 0.98
