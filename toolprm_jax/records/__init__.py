"""Records, and every file of JSON lines: types, readers of five formats, resumable writing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
