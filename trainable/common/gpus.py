"""NVIDIA GPUs: whether torch can use the one that is there, and when its memory ran out."""

import os
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder per GPU, whatever torch was built for
ALLOCATION_FAILED = ("OutOfMemoryError", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def unusable_gpu() -> str:
    """Why torch can't use a GPU that is there and not hidden by CUDA_VISIBLE_DEVICES, and the
    remedy; empty if there is nothing to say."""
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


def out_of_gpu_memory(error: BaseException | None) -> bool:
    """Whether an error is of too little GPU memory: torch's own, cuBLAS's or Triton's."""
    said = f"{type(error).__name__}: {error}"
    return isinstance(error, RuntimeError) and any(text in said for text in ALLOCATION_FAILED)
