"""Errors, files, digests. Imports nothing else of `trainable`."""
