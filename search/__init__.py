"""The jitted search, the methods it is compared with, evaluation and reports."""
