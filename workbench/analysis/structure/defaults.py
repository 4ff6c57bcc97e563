"""Default settings of `analyze_structure` and `map_experts`, and of their commands, which import nothing else early."""

TOP = 0.01  # fraction of a group's experts that count as most active in a label
PERMUTATIONS = 100
MAP_EXPERTS = 4000  # per group
