"""The atlas: every expert of a group in its place, the keys beside it, and regions that are marked on a map."""
