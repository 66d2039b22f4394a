"""Search for function calls: a jitted fine-grained beam search, its methods, and a `Searcher`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
