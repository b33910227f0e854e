"""Arrays written to a place that stays; on a CPU the engine's tests show it."""

import numpy as np
import pytest
import torch

from trainable.uploads import Upload


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_many_writes_ahead_of_the_gpu_arrive_in_order():
    upload = Upload(1000, torch.int64, torch.device("cuda"), slots=2)
    sums = []
    torch.cuda._sleep(100_000_000)  # the GPU is busy while the host writes on
    for value in range(50):
        upload.write(np.full(1000, value))
        sums.append(upload.target.sum())
    assert [int(total) for total in sums] == [1000 * value for value in range(50)]
