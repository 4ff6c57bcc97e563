"""What the prompt page is made of: reading an address, drawing the answer, editing, generating, and several prompts."""
