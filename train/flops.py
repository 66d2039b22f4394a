"""Floating-point operations that a model needs, and what chips can do."""

from __future__ import annotations

from toolprm_jax.model import DecoderConfig

# Dense bfloat16 FLOP/s of one JAX device, from its maker's data sheet, by `device_kind`.
PEAK_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}


def layer_weights(config: DecoderConfig) -> int:
    """Weights of the matrices of one layer, through which every token goes."""
    queries, pairs = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    attention = config.hidden_size * (2 * queries + 2 * pairs)
    return attention + 3 * config.hidden_size * config.intermediate_size


def forward_flops(config: DecoderConfig, tokens: float, visible: float, logits: float) -> float:
    """FLOPs of one forward pass, a multiplication and an addition counted as two.

    Only what the result depends on is counted: no padding, no masked pair of tokens, no logit that
    isn't asked for. Norms, rotations, softmax and the embedding's look-up are left out.

    Args:
      config: shape of the decoder.
      tokens: tokens that are no padding.
      visible: pairs of tokens of which the first sees the second, itself included.
      logits: entries of the output layer that are computed: two for each decision of a PRM, the
        vocabulary for each token that a policy is trained on.

    Source: our choice; the matrices as in arXiv:2204.02311, appendix B, the attention by visible
    pairs.
    """
    matrices = 2 * config.num_layers * layer_weights(config) * tokens
    attention = 4 * config.num_layers * config.num_heads * config.head_dim * visible
    return matrices + attention + 2 * config.hidden_size * logits


def training_flops(config: DecoderConfig, tokens: float, visible: float, logits: float) -> float:
    """FLOPs of a training step: the forward pass and twice as much for the backward one.

    What rematerialisation computes again and the optimizer's work are not counted.
    """
    return 3 * forward_flops(config, tokens, visible, logits)
