"""Records, the call grammar, matching, masking and step labels, in pure Python (no JAX)."""
