"""The Flax Linen decoder, the process reward model on top of it, and its files."""
