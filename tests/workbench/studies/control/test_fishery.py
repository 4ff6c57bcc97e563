"""The dynamics against closed forms, one step at a time."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.errors import BadInputError
from workbench.studies.control.fishery import Fishery, penalty

NONE = np.zeros((1, 3))
STATE = np.array([[0.6, 0.4, 0.5]])


def step(
    fishery: Fishery, mortality: list[float], time: int = 0, noise: np.ndarray = NONE
) -> tuple[list[float], list[float]]:
    grown, harvest = fishery.step(STATE, np.array([mortality]), time, noise)
    return grown[0].tolist(), harvest[0].tolist()


def test_a_step_by_hand() -> None:
    grown, harvest = step(Fishery.of(3), [0.5, 0.25])
    assert harvest == pytest.approx([0.3, 0.1])
    x, y, z = 0.3, 0.3, 0.5  # what the harvest leaves
    eaten, met = 0.3 * z * 0.09 / (0.09 + 0.09), 0.1 * x * y
    assert grown == pytest.approx(
        [
            x + x * 0.7 - eaten - met,
            y + y * 0.7 - 1.1 * eaten - met,
            z + z * (0.1 * (x + 1.1 * y) - 0.1),
        ]
    )


def test_noise_is_a_share_of_the_population_that_the_harvest_leaves() -> None:
    calm, _ = step(Fishery.of(3), [0.5, 0.25])
    rough, _ = step(Fishery.of(3), [0.5, 0.25], noise=np.array([[1.0, -2.0, 3.0]]))
    assert np.subtract(rough, calm) == pytest.approx([0.1 * 0.3, -0.2 * 0.3, 0.3 * 0.5])


def test_mortality_is_cut_to_a_share() -> None:
    assert step(Fishery.of(3), [7.0, -3.0])[1] == pytest.approx([0.6, 0.0])


def test_model_2_harvests_x_alone_and_model_1_is_x_alone() -> None:
    assert Fishery.of(2).harvested == (0,)
    assert len(step(Fishery.of(2), [0.5])[1]) == 1
    alone = Fishery.of(1)
    grown, _ = step(alone, [0.0])
    predator = STATE[0, 2]
    assert grown[0] == pytest.approx(0.6 + 0.6 * 0.4 - 0.25 * predator * 0.36 / (0.01 + 0.36) - 0.1 * 0.6 * 0.4)
    assert grown[1:] == STATE[0, 1:].tolist()
    assert alone.observed == (0,)
    assert alone.start.tolist() == [0.7, 0.0, 1.0]  # no Y to compete with, and one unit of predator


def test_growth_of_model_4_falls_to_half_in_a_hundred_steps() -> None:
    falling = Fishery.of(4)
    assert [falling.growth_at(time) for time in (0, 50, 100, 199)] == [1.0, 0.75, 0.5, 0.5]
    assert step(falling, [0.0, 0.0])[0] == step(Fishery.of(3), [0.0, 0.0])[0]
    late = np.subtract(step(Fishery.of(3), [0.0, 0.0], 199)[0], step(falling, [0.0, 0.0], 199)[0])
    assert late == pytest.approx([0.5 * 0.6 * 0.4, 0.0, 0.0])


def test_without_a_predator_or_competitor_a_population_rests_at_its_capacity() -> None:
    state = np.array([[0.8, 0.0, 0.0]])
    fishery = Fishery.of(3, capacity_x=0.8)
    grown, _ = fishery.step(state, np.zeros((1, 2)), 0, NONE)
    assert grown == pytest.approx(state)


def test_a_harvested_population_settles_where_growth_replaces_the_harvest() -> None:
    # x = x' + x' (1 - x') with x' = x (1 - M): x' = 1 - M / (1 - M).
    fishery, state = Fishery.of(3), np.array([[0.5, 0.0, 0.0]])
    for _ in range(300):
        state, harvest = fishery.step(state, np.array([[0.2, 0.0]]), 0, NONE)
    assert state[0, 0] * 0.8 == pytest.approx(1 - 0.2 / 0.8)
    assert harvest[0, 0] == pytest.approx(0.2 * state[0, 0], rel=1e-6)


def test_a_collapse_is_a_population_at_the_threshold_of_those_that_there_are() -> None:
    states = np.array([[0.05, 0.5, 0.5], [0.5, 0.5, 0.0501], [0.5, 0.0, 1.0]])
    assert Fishery.of(3).collapsed(states).tolist() == [True, False, True]
    assert Fishery.of(1).collapsed(states).tolist() == [True, False, False]
    assert penalty(0) == -100
    assert penalty(199) == -0.5


def test_populations_are_never_below_zero() -> None:
    grown, _ = step(Fishery.of(3), [0.0, 0.0], noise=np.full((1, 3), -50.0))
    assert grown == [0.0, 0.0, 0.0]


def test_a_perturbation_scales_every_parameter_and_nothing_else() -> None:
    plain, shaken = Fishery.of(4), Fishery.of(4).perturbed(0.1, seed=3)
    assert shaken.model == 4
    ratios = [shaken.to_dict()[name] / value for name, value in plain.to_dict().items() if name != "model"]
    assert len(set(ratios)) == len(ratios)
    assert all(abs(ratio - 1) < 0.5 for ratio in ratios)
    assert plain.perturbed(0.1, seed=3) == shaken
    assert plain.perturbed(0.0, seed=3) == plain


@pytest.mark.parametrize(
    ("model", "parameters", "says"),
    [(5, {}, "no fishery model 5"), (3, {"speed": 1.0}, "no parameter 'speed'"), (3, {"noise": -1.0}, "noise must be")],
)
def test_what_is_no_fishery_is_refused(model: int, parameters: dict[str, float], says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        Fishery.of(model, **parameters)
