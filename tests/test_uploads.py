"""Arrays written to a place that stays."""

import numpy as np
import pytest
import torch

from trainable.uploads import Upload


def test_fills_the_front_and_keeps_its_place(cpu):
    upload = Upload(5, torch.int64, cpu)
    place = upload.target.data_ptr()
    assert upload.write(np.array([7, 8, 9])).tolist() == [7, 8, 9]
    assert upload.target.tolist() == [7, 8, 9, 0, 0]
    upload.write(np.array([1, 2]))
    assert upload.target.tolist() == [1, 2, 9, 0, 0]
    assert upload.target.data_ptr() == place


def test_an_array_of_any_shape_is_written_flat(cpu):
    upload = Upload(6, torch.float16, cpu)
    upload.write(np.arange(6, dtype=np.float16).reshape(2, 3).T)
    assert upload.target.tolist() == [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]


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
