"""Which experts made a logit: exact direct attribution, gradients, ablation, over a prompt or a corpus."""
