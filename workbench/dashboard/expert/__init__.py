"""The parts of an expert's page, one per file."""
