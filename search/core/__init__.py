"""The search itself: pure functions over fixed-shape arrays, no transformer, no host code."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
