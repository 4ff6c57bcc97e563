"""Which experts two models of one shape differ in: by mass, by output and by contribution."""
