"""The training step and its execution: losses, optimiser, graphs. May import models and below."""
