"""Records, the call grammar, matching, masking and step labels, in pure Python (no JAX)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
