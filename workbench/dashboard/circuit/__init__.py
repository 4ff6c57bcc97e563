"""The circuit behind a token: traced by need, pruned, and changed in the real model; see ``pages/circuit.py``."""
