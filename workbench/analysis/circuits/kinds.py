"""The kinds of nodes and edges of a circuit."""

KINDS = ["embed", "bias", "expert", "rest", "mlp", "logit"]  # of nodes
VALUE, ROUTING = "value", "routing"  # kinds of edges
