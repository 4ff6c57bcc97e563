"""Default settings of the analyses, in one place for library and command line; importing them loads nothing else."""

RATIO = 2.0  # first label share over second, from which an expert is specialised (Monet paper, section 5.1)
MIN_TOKENS = 10  # active tokens an expert needs to be specialised, or tested
PERMUTATIONS = 200  # of the labels, in the permutation test
FDR = 0.05  # false discovery rate at which a specialised expert is confirmed
COVERAGE = 0.5  # part of a label's mass that its core experts hold
ORDER = "preference"  # in which experts are ablated for a trade-off curve
BUDGET = 0.02  # rise in the others' loss, nats per token, at which a trade-off curve is read
LEVEL = 0.95  # of bootstrap intervals
SAMPLES = 2000  # bootstrap draws
NODES = 512  # experts of a circuit that are nodes of their own
NODE_THRESHOLD, EDGE_THRESHOLD = 0.8, 0.98  # of a circuit that is pruned; circuit-tracer's
