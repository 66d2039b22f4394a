"""Text to arrays: prompts, the tokenisation contract, token trees."""
