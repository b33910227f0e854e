"""One trial: alpha, distillation, loop, checkpoints, for Tune. May import all of `trainable`."""
