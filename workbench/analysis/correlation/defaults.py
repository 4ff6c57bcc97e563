"""Default settings of `correlate_scores` and `purge_scores`, and of their commands, which import nothing else early."""

COLUMN = "score"
MIN_DOCUMENTS = 10  # that an expert must be active in, to be tested or removed
FDR = 0.05
CORRELATE_UNIT = "mean"
PURGE_UNIT = "token"  # as in the paper
THRESHOLDS = (0.2, 0.1, 0.05)  # the paper's
PROMPTS = 64  # that are continued, half of them toxic
