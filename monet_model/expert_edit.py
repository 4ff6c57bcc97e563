"""`ExpertEdit`: a set of scaled experts that can be published, tied to the model whose experts they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .identity import model_identity

if TYPE_CHECKING:
    import pandas as pd

    from .config import MonetConfig

FORMAT = "monet-expert-edit-1"


@dataclass(frozen=True)
class ExpertEdit:
    """Factors of single experts: 0 removes one, 2 doubles it; experts that are not named keep factor 1.

    >>> edit = ExpertEdit.from_experts(model, {0: python_experts})
    >>> edit.save("no-python.safetensors")
    >>> with model.edit_experts(ExpertEdit.load("no-python.safetensors")): ...

    Attributes:
        experts: layer that owns a router -> (n,) int64 flat expert ids, each once.
        factors: the same layers -> (n,) float32 factors.
        keys: E, the keys of each set.
        identity: of the model the experts belong to, :func:`model_identity`.
    """

    experts: Mapping[int, Tensor]
    factors: Mapping[int, Tensor]
    keys: int
    identity: str

    def __post_init__(self) -> None:
        for layer, ids in self.experts.items():
            if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.keys**2):
                raise ValueError(f"layer {layer}: expert ids must lie in 0 .. {self.keys**2 - 1}.")
            if len(ids.unique()) < len(ids):
                raise ValueError(f"layer {layer}: an expert is named more than once.")
            if not self.factors[layer].isfinite().all():
                raise ValueError(f"layer {layer}: a factor is NaN or infinite.")

    @classmethod
    def from_experts(
        cls, model: nn.Module, experts: Mapping[int, Tensor | list[int]], factor: float = 0.0
    ) -> ExpertEdit:
        """One factor for all of the named experts, by default 0: their removal.

        Args:
            experts: layer that owns a router -> flat expert ids, ``i * E + j``.

        Raises:
            ValueError: a layer owns no router, an id is out of range or named twice, the factor is not finite.
        """
        ids = {layer: torch.as_tensor(chosen, dtype=torch.int64).flatten() for layer, chosen in experts.items()}
        return cls._of(model, ids, {layer: torch.full(chosen.shape, float(factor)) for layer, chosen in ids.items()})

    @classmethod
    def from_frame(cls, model: nn.Module, frame: pd.DataFrame) -> ExpertEdit:
        """From a table of one row an expert.

        Args:
            frame: columns ``expert`` (flat id), ``factor``, and either ``group`` (number of a routing group) or
                ``layer`` (that owns a router).

        Raises:
            ValueError: a column is missing, or as :meth:`from_experts`.
        """
        places = [name for name in ("group", "layer") if name in frame]
        missing = [name for name in ("expert", "factor") if name not in frame]
        if missing or len(places) != 1:
            raise ValueError(
                "an edit's table needs the columns expert, factor and one of group and layer; "
                f"got {', '.join(map(str, frame.columns)) or 'none'}."
            )
        owners = [group.start for group in _config(model).routing_groups]
        experts, factors = {}, {}
        for place, rows in frame.groupby(places[0]):
            if places[0] == "group" and place not in range(len(owners)):
                raise ValueError(f"there is no routing group {place}; the model has groups 0 .. {len(owners) - 1}.")
            layer = owners[place] if places[0] == "group" else int(place)
            experts[layer] = torch.tensor(rows["expert"].to_numpy(dtype="int64"))
            factors[layer] = torch.tensor(rows["factor"].to_numpy(dtype="float32"))
        return cls._of(model, experts, factors)

    @classmethod
    def _of(cls, model: nn.Module, experts: dict[int, Tensor], factors: dict[int, Tensor]) -> ExpertEdit:
        owners = [group.start for group in _config(model).routing_groups]
        for layer in experts:
            if layer not in owners:
                raise ValueError(f"layer {layer} owns no router; edits go to one of the layers {owners}.")
        return cls(experts, factors, _config(model).moe_experts, model_identity(model))

    def __len__(self) -> int:
        """Number of experts named."""
        return sum(map(len, self.experts.values()))

    def matrices(self) -> dict[int, Tensor]:
        """The edit as ``edit_experts`` takes it: layer -> (E, E) float32 factors."""
        made = {}
        for layer, ids in self.experts.items():
            matrix = torch.ones(self.keys**2)
            matrix[ids] = self.factors[layer]
            made[layer] = matrix.view(self.keys, self.keys)
        return made

    def check(self, model: nn.Module) -> None:
        """Raises ValueError unless ``model`` is the one whose experts are edited."""
        identity = model_identity(model)
        if identity != self.identity:
            raise ValueError(
                f"this edit belongs to the model {self.identity[:12]}, not to {identity[:12]}: expert ids mean "
                "something else there. Make the edit anew for this model."
            )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: 12 bytes an expert and the model's identity. Replaces ``path`` whole or not."""
        path = Path(path)
        tensors = {}
        for layer, ids in self.experts.items():
            tensors[f"{layer}.experts"] = ids
            tensors[f"{layer}.factors"] = self.factors[layer]
        temporary = path.with_name(path.name + ".tmp")
        try:
            about = {"format": FORMAT, "keys": self.keys, "identity": self.identity}
            save_file(tensors, temporary, {"edit": json.dumps(about)})
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> ExpertEdit:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: there is no such file, or it holds no edit.
        """
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["edit"])
                if about["format"] != FORMAT:
                    raise ValueError(f"{path} has the format {about['format']!r}; this version reads {FORMAT!r}.")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except OSError as error:
            raise ValueError(f"there is no expert edit at {path}: {error}") from error
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not an expert edit saved by ExpertEdit.save: {error}") from error
        layers = sorted({int(name.partition(".")[0]) for name in tensors})
        return cls(
            {layer: tensors[f"{layer}.experts"] for layer in layers},
            {layer: tensors[f"{layer}.factors"] for layer in layers},
            about["keys"],
            about["identity"],
        )


def _config(model: nn.Module) -> MonetConfig:
    return cast("MonetConfig", model.config)
