"""How far two models that read the same tokens expect other ones next."""
