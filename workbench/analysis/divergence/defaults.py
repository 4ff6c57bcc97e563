"""Default settings of the comparison of two models; importing them loads nothing else."""

DOCUMENTS = 200  # measured, spread over the labels
