"""Text to arrays: prompts, the tokenisation contract, token trees."""

import os

import lazy_loader

# Only tokenizers are used of transformers, which need no PyTorch.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
