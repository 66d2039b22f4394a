"""ToolPRM in JAX: score every decision inside a function call, and search with the scores."""

__version__ = "0.1.0"
