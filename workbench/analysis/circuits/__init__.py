"""Circuits: which experts, at which positions, made a token, and why they were chosen; complete, with no error node."""
