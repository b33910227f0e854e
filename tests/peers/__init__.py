"""What people use today for the same job, a script each, and `python -m tests.peers` to compare."""
