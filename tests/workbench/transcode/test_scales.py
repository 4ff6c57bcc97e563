"""Sizes of inputs and outputs, and errors in their units."""

from __future__ import annotations

import torch

from workbench.transcode import Teacher
from workbench.transcode.imitate import Lesson
from workbench.transcode.scales import OUTLIER, Scales


def test_the_mean_output_explains_nothing_and_the_outputs_everything(lesson: Lesson) -> None:
    x = next(lesson.sample())
    y = lesson.teacher.outputs(x, lesson.layers)
    scales = Scales.of(lesson.teacher, lesson.layers, x)
    mean = scales.mean[:, None].expand_as(y)
    torch.testing.assert_close(scales.unexplained(mean, y), torch.ones(2))
    assert torch.equal(scales.unexplained(y, y), torch.zeros(2))


def test_extreme_tokens_count_with_the_limit(teacher: Teacher, lesson: Lesson) -> None:
    x = next(lesson.sample()).clone()
    plain = Scales.of(teacher, lesson.layers, x)
    x[:, 0] *= 1e3
    scales = Scales.of(teacher, lesson.layers, x)
    y = teacher.outputs(x, lesson.layers)
    squared = y.square().sum(-1)
    torch.testing.assert_close(scales.weight(y)[:, 0] * squared[:, 0], scales.limit)
    assert bool((scales.weight(y)[:, 1:] == (squared[:, 1:] <= scales.limit[:, None]).float()).float().mean() > 0.9)
    # One token among 64 adds at most its share of the limit.
    most = plain.variance + OUTLIER * squared.median(1).values / 64
    assert bool((scales.variance < 1.2 * most).all())
