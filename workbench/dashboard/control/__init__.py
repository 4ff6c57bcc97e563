"""The parts of the page of a policy that was read through its experts."""
