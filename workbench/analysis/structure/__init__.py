"""How experts relate to each other: rows and columns of keys, outputs, co-activation, a map."""
