"""One small file per experiment, each with a get_config()."""
