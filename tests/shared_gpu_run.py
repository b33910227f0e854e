"""`python -m search.run` on a pretended GPU: Ray and the probe believe in it, the trials use a CPU.

Started as a script by `test_sharing.py`, with the command line of `search.run`.
"""

import sys

import torch

from tests.probe_subjects import pretended_memory
from trainable import environment, probe_processes

if __name__ == "__main__":
    torch.cuda.device_count = lambda: 1
    environment.available_cores = lambda: 2
    probe_processes.device_memory = pretended_memory
    from search.run import main

    sys.exit(main())
