"""What is probed in tests: subjects that step, or fail as real trials do, without a GPU."""

import os
import time
from dataclasses import dataclass

import torch

GIGABYTE = 10**9


def pretended_memory():
    """20 of 24 GB are free."""
    return 20 * GIGABYTE, 24 * GIGABYTE


def no_gpu():
    raise RuntimeError("no CUDA GPUs are available\nand more that nobody wants")


@dataclass
class Subject:
    """Steps of 4 sentences in a hundredth of a second; `noted` is a file for what is done."""

    noted: str
    fault: str = ""
    execution: str = "graph"
    reason: str = ""

    def step(self):
        self._note("s")
        self._strike("step")
        time.sleep(0.01)
        return 4

    def longest_step(self):
        self._note("L")
        self._strike("longest")
        return 4

    def _note(self, letter):
        with open(f"{self.noted}.{os.getpid()}", "a") as file:
            file.write(letter)

    def _strike(self, moment):
        if self.fault == f"memory at {moment}":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")
        if self.fault == f"bug at {moment}":
            raise ValueError("a bug in the step\nof two lines")
        if self.fault == f"death at {moment}":
            os._exit(3)
        if self.fault == f"kill at {moment}":
            os.kill(os.getpid(), 9)
        if self.fault == f"hang at {moment}":
            time.sleep(600)
        if self.fault == f"noise at {moment}":
            os.write(1, b"noise\n")
            os.write(2, b"noise\n")


def start(config, task):
    """The subject that the values describe; the second process to come here is the faulty one."""
    if "first" in config:
        try:
            os.close(os.open(config["first"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return Subject(config["noted"], config["fault"])
        return Subject(config["noted"])
    return Subject(config["noted"], config.get("fault", ""))


def start_out_of_memory(config, task):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def start_broken(config, task):
    raise RuntimeError("no kernel image is available")
