"""What a transcoding is asked for: layers, shape of the experts, and how they are trained."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..errors import BadInputError

if TYPE_CHECKING:
    from monet_model.training import TrainingConfig

_OF_FIGURES = ("heldout_sequences", "eval_every", "save_every", "log_every")  # which leave the weights alone
_OF_DISTRIBUTIONS = ("kl_tokens", "kl_batch", "kl_lr")
_SPAN = re.compile(r"(\d+)(?:-(\d+))?")


def parse_layers(text: str) -> tuple[int, ...]:
    """Read layers such as ``8-11`` or ``0,4-6``.

    Raises:
        BadInputError: it is not a list of layers and spans.

    Examples:
        >>> from workbench.transcode.settings import parse_layers
        >>> parse_layers("1,8-11")
        (1, 8, 9, 10, 11)
    """
    layers: set[int] = set()
    for part in text.split(","):
        span = _SPAN.fullmatch(part.strip())
        if span is None or (span[2] is not None and int(span[2]) < int(span[1])):
            raise BadInputError(f"--layers takes layers and spans such as 8-11 or 0,4-6; got {text!r}.")
        layers |= set(range(int(span[1]), int(span[2] or span[1]) + 1))
    return tuple(sorted(layers))


@dataclass(frozen=True)
class TranscodeSettings:
    """Settings of a transcoding; those that shape the weights are part of its identity.

    Attributes:
        layers: of the teacher, ascending, whose MLPs get experts.
        group_layers: layers that share a router; None for all of them.
        experts: E, keys per set: a group gets E * E experts.
        moe_dim, heads, topk, decompose: as in ``MonetConfig``, with ``heads`` and ``topk`` for ``moe_heads`` and
            ``moe_topk``.
        tokens: tokens that the experts are trained on against the teacher's outputs, and an assistant before them.
        kl_tokens: tokens that they are then trained on against the teacher's next-token distribution.
        assistant: whether the first bank learns from an assistant with privileged routing.
        residual_experts: keys per set of a second bank, which learns what an assistant misses; 0 for none.
        residual_heads: routing heads of the second bank.
        sequence: tokens per sequence.
        batch, kl_batch: sequences per step of the two trainings.
        lr, kl_lr: peak learning rates.
        warmup: steps of linear warm-up of each training, at most a fifth of them.
        weight_decay: of matrices, in the training against outputs.
        aux: weight of both auxiliary losses of the routers.
        revive_every: steps between revivals of dead keys in the first half; 0 for none.
        heldout_sequences: sequences per label, at most, that figures are measured on.
        eval_every, save_every, log_every: steps between held-out figures, states to resume from, and lines of the log.
        autocast: run matrix products outside the routers in bfloat16, on devices that have them.
        seed: of initial weights and order of sequences.

    Raises:
        BadInputError: a value is out of range.

    Examples:
        >>> from workbench.transcode import TranscodeSettings
        >>> settings = TranscodeSettings(layers=(8, 9, 10, 11), group_layers=2)
        >>> settings.groups
        [(8, 9), (10, 11)]
        >>> settings.imitating().steps  # of 8 sequences of 256 tokens
        488
    """

    layers: tuple[int, ...]
    group_layers: int | None = None
    experts: int = 512
    moe_dim: int = 8
    heads: int = 4
    topk: int = 8
    decompose: str = "vertical"
    tokens: int = 1_000_000
    kl_tokens: int = 0
    assistant: bool = False
    residual_experts: int = 0
    residual_heads: int = 2
    sequence: int = 256
    batch: int = 8
    kl_batch: int = 4
    lr: float = 2e-3
    kl_lr: float = 2e-4
    warmup: int = 100
    weight_decay: float = 0.0
    aux: float = 1e-3
    revive_every: int = 50
    heldout_sequences: int = 8
    eval_every: int = 100
    save_every: int = 100
    log_every: int = 10
    autocast: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.layers:
            raise BadInputError("there are no layers to transcode; name some, such as --layers 8-11.")
        for name in ("tokens", "batch", "kl_batch", "heldout_sequences"):
            if getattr(self, name) < 1:
                raise BadInputError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("kl_tokens", "residual_experts", "revive_every"):
            if getattr(self, name) < 0:
                raise BadInputError(f"{name} must be 0 or more, got {getattr(self, name)}.")
        if self.group_layers is not None and self.group_layers < 1:
            raise BadInputError(f"group_layers must be at least 1, got {self.group_layers}.")
        if self.residual_experts and self.residual_experts <= self.residual_topk:
            raise BadInputError(f"residual_experts must be above {self.residual_topk}, got {self.residual_experts}.")
        try:
            self.imitating(), self.predicting()
        except ValueError as error:
            raise BadInputError(str(error)) from error

    @property
    def residual_topk(self) -> int:
        """Active keys per head that the second bank's threshold is set for: that of the first, scaled, at least 2."""
        return max(2, round(self.topk * self.residual_experts / self.experts))

    @property
    def teaches(self) -> bool:
        """Whether there is an assistant: the first bank or the second learns from it."""
        return self.assistant or self.residual_experts > 0

    @property
    def groups(self) -> list[tuple[int, ...]]:
        """The layers of each routing group."""
        size = self.group_layers or len(self.layers)
        return [self.layers[start : start + size] for start in range(0, len(self.layers), size)]

    def shape(self) -> dict[str, Any]:
        """The first bank's fields of ``MonetConfig``."""
        return {
            "moe_dim": self.moe_dim,
            "moe_heads": self.heads,
            "moe_experts": self.experts,
            "moe_topk": self.topk,
            "moe_decompose": self.decompose,
            "moe_groups": self.group_layers or len(self.layers),
            "router_aux_loss_coef": self.aux,
        }

    def residual_shape(self) -> dict[str, Any]:
        """The second bank's fields of ``MonetConfig``."""
        own = {
            "moe_heads": self.residual_heads,
            "moe_experts": self.residual_experts,
            "moe_topk": self.residual_topk,
        }
        return self.shape() | own

    def imitating(self) -> TrainingConfig:
        """The training against outputs."""
        return self.training(self.tokens, self.batch, self.lr, self.weight_decay, self.revive_every)

    def predicting(self) -> TrainingConfig:
        """The training against next-token distributions."""
        return self.training(max(self.kl_tokens, 1), self.kl_batch, self.kl_lr, 0.0, 0)

    def training(self, tokens: int, batch: int, lr: float, decay: float, revive_every: int) -> TrainingConfig:
        """A training with these settings, of so many tokens in batches of ``batch`` sequences."""
        from monet_model.training import TrainingConfig

        steps = max(1, tokens // (batch * self.sequence))
        return TrainingConfig(
            tokens=tokens,
            sequence=self.sequence,
            batch=batch,
            lr=lr,
            warmup=min(self.warmup, steps // 5),
            weight_decay=decay,
            autocast=self.autocast,
            revive_every=revive_every,
            seed=self.seed,
            save_every=self.save_every,
            eval_every=self.eval_every,
            log_every=self.log_every,
        )

    def to_json(self) -> dict[str, Any]:
        """All settings."""
        return asdict(self) | {"layers": list(self.layers)}

    def weighing(self, on_distributions: bool) -> dict[str, Any]:
        """The settings that determine the weights after a training: on outputs, or then on distributions."""
        without = _OF_FIGURES if on_distributions else (*_OF_FIGURES, *_OF_DISTRIBUTIONS)
        return {name: value for name, value in self.to_json().items() if name not in without}
