"""The expert layers, one decomposition per file, and the registry that names them.

A new decomposition is a subclass of ``ExpertLayer`` in a new file here and a line in ``DECOMPOSITIONS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import ExpertLayer
from .horizontal import HorizontalExperts
from .output_part import OutputPart
from .vertical import VerticalExperts

if TYPE_CHECKING:
    from ..config import MonetConfig

# What `MonetConfig.moe_decompose` may be.
DECOMPOSITIONS: dict[str, type[ExpertLayer]] = {
    "vertical": VerticalExperts,
    "horizontal": HorizontalExperts,
}

__all__ = ["DECOMPOSITIONS", "ExpertLayer", "HorizontalExperts", "OutputPart", "VerticalExperts", "make_experts"]


def make_experts(config: MonetConfig) -> ExpertLayer:
    """The expert layer that ``config.moe_decompose`` names."""
    return DECOMPOSITIONS[config.moe_decompose](config)
