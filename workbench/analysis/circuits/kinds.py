"""The kinds of nodes and edges of a circuit."""

KINDS = ["embed", "bias", "expert", "rest", "logit"]  # of nodes
VALUE, ROUTING = "value", "routing"  # kinds of edges
