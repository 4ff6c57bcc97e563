"""What the page Compare puts beside each other: experts, prompts, edits and runs, one file each."""
