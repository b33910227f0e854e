"""What is told of Ray's events: the record, the terminal, SwanLab."""
