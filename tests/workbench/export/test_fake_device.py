"""The reader of an export over torch's fake tensors of a GPU: all that it makes is there."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from monet_model import MonetConfig, MonetForCausalLM
from workbench.export.reader import routing_reader

from ...stand_in.fake import GPU, all_there
from .conftest import GOLDEN


@pytest.mark.parametrize("name", ["tiny-vd", "tiny-hd"])
@pytest.mark.parametrize("padded", [False, True])
def test_what_it_reads_is_there(fake_gpu: FakeTensorMode, name: str, padded: bool) -> None:
    with torch.device(GPU):
        model = MonetForCausalLM(MonetConfig.from_pretrained(GOLDEN / name)).eval()
        ids = torch.zeros(2, 7, dtype=torch.int64)
    with routing_reader(model) as read, all_there():
        routings = read(ids, torch.ones_like(ids) if padded else None)
    assert len(routings) == len(model.config.routing_groups)
    assert {(len(one), one.probs1.device) for one in routings} == {(14, GPU)}
