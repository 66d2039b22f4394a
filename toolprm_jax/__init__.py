"""ToolPRM in JAX: score every decision inside a function call. Importing it imports no JAX."""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
