"""Attribution of logits to experts: exact and direct, by gradient and by ablation, for one prompt or over a corpus."""
