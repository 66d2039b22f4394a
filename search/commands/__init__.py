"""The console commands of search, one module each."""
