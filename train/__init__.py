"""The training program: mesh, step, loop, data and checkpoints."""
