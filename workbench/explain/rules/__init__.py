"""Rules: explanations that are learned without a language model, and measured token by token."""
