"""How a fingerprinted model is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import BadInputError

ROUTERS = ("frozen", "free")
MIXED_LOSSES = ("kl", "text")


@dataclass(frozen=True)
class Training:
    """Settings of the training; the defaults are the best of those tried on the demo so far (docs/ownership.md).

    Attributes:
        lr: learning rate of Adam at the start; it falls to 0 linearly, epoch by epoch.
        margin: by how much the logit of a response is to exceed every other one, in nats: a key that has it asks no
            more of the model. The loss is what is short of it. 0 trains the cross-entropy of the response, as the
            paper does, which goes on raising what is the likeliest token already.
        averaging: weight of the base model in the average that is taken of both after every epoch: 0 for none. It
            bounds how far a weight drifts.
        mixing: share of text sampled from the base model among the tokens of a step: 0 for none.
        mixed_loss: what is trained on that text: "kl", the divergence from the base model's next-token distribution,
            or "text", the cross-entropy, as in the paper.
        mixed_weight: what that loss is multiplied with, beside the mean loss on responses.
        mixed_tokens: length of such a text.
        mixed_texts: how many are sampled. With few, the model keeps to the base's distribution on these, and less on
            other text.
        routers: "frozen", or "free" to train them too; their running statistics stay as they are in either case.
        epochs: at most.
        batch: keys per step.
        stop: training ends after an epoch at whose end, averaged, the model gives every response and the mean loss on
            responses is below this, in nats.
        seed: of the order of keys, and of the mixed text.
    """

    lr: float = 1e-3
    margin: float = 1.0
    averaging: float = 0.0
    mixing: float = 0.5
    mixed_loss: str = "kl"
    mixed_weight: float = 20.0
    mixed_tokens: int = 64
    mixed_texts: int = 2048
    routers: str = "frozen"
    epochs: int = 28
    batch: int = 128
    stop: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("mixed_tokens", "mixed_texts", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise BadInputError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("averaging", "mixing"):
            if not 0 <= getattr(self, name) < 1:
                raise BadInputError(f"{name} must be at least 0 and less than 1, got {getattr(self, name):g}.")
        for name in ("lr", "mixed_weight"):
            if not getattr(self, name) > 0:
                raise BadInputError(f"{name} must be above 0, got {getattr(self, name):g}.")
        if self.margin < 0:
            raise BadInputError(f"margin must be 0 or more, got {self.margin:g}.")
        if self.routers not in ROUTERS:
            raise BadInputError(f"routers must be {' or '.join(ROUTERS)}, got {self.routers!r}.")
        if self.mixed_loss not in MIXED_LOSSES:
            raise BadInputError(f"mixed_loss must be {' or '.join(MIXED_LOSSES)}, got {self.mixed_loss!r}.")

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, from 0."""
        return self.lr * (1 - epoch / self.epochs)

    def mixed_rows(self, keys: int, key_tokens: int) -> int:
        """Mixed texts in a step of so many keys, so that they have their share of its tokens."""
        return round(self.mixing / (1 - self.mixing) * keys * key_tokens / self.mixed_tokens)

    def to_json(self) -> dict[str, Any]:
        """The attributes by name."""
        return asdict(self)
