"""Which layers the groups of a run's model have: what its manifest says of them, and how that is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def layers_of_groups(model: Mapping[str, Any]) -> list[list[int]]:
    """The layers of each routing group: from its router's to the next one's, dense layers left out.

    Args:
        model: ``model`` of a manifest.

    Examples:
        >>> from workbench.store.group_layers import layers_of_groups
        >>> layers_of_groups({"groups": [1, 4], "layers": 6, "dense_layers": [0, 2]})
        [[1, 3], [4, 5]]
    """
    starts, dense = model["groups"], set(model.get("dense_layers", []))
    ends = [*starts[1:], model["layers"]]
    return [
        [layer for layer in range(start, end) if layer not in dense] for start, end in zip(starts, ends, strict=True)
    ]


def layers_text(layers: Sequence[int]) -> str:
    """Layers as people read them.

    Examples:
        >>> from workbench.store.group_layers import layers_text
        >>> layers_text([3]), layers_text([8, 9, 10, 11]), layers_text([1, 3, 4])
        ('layer 3', 'layers 8 to 11', 'layers 1, 3 and 4')
    """
    *others, last = layers
    if not others:
        return f"layer {last}"
    if last - layers[0] == len(others):
        return f"layers {layers[0]} to {last}"
    return f"layers {', '.join(map(str, others))} and {last}"
