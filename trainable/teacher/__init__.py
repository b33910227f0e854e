"""The teacher, fine-tuned once, and its outputs. May import engine and below."""
