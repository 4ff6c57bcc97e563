"""Which label each expert is specialised in, how purely, and how certain that is."""
