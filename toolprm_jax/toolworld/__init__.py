"""A small embedded world: a corpus of function-calling records and the checkpoints made from it."""
