"""The HTTP server: OpenAI's chat completions over the engine (extra `[serve]`)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
