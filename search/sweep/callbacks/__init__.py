"""Ray Tune callbacks: the record, the terminal, SwanLab. May import scheduling and processes."""
