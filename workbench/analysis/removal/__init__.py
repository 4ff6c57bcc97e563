"""What zero-ablating experts does to the loss of every label."""
