"""Whether an NVIDIA GPU of this machine is out of torch's reach, and why."""

import os
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder per GPU, whatever torch was built for


def unusable_gpu() -> str:
    """Why torch can't use a GPU that is there, and the remedy; empty where it can or none is.

    A GPU that CUDA_VISIBLE_DEVICES hides is not there.
    """
    import torch

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    there = DRIVER.is_dir() and any(DRIVER.iterdir())
    if hidden or not there or torch.cuda.is_available():
        return ""
    if torch.version.cuda is None:
        return (
            "this machine has an NVIDIA GPU, but this torch is a build for CPUs; install a torch "
            "build for CUDA"
        )
    return (
        f"this machine has an NVIDIA GPU, but its driver is too old for this torch, a build for "
        f"CUDA {torch.version.cuda}; update the driver, or install a torch build for an older CUDA"
    )
