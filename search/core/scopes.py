"""Names of the parts of a search that a profiler's trace tells apart (`jax.named_scope`)."""

POLICY = "policy"
REWARD = "reward_model"
CACHE = "cache"
