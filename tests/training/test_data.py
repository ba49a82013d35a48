"""Data as tensors on shared memory, and minibatches that are slices of them."""

import numpy as np
import pytest
import torch

from sklearn_rnnbound.training.data import Batches, Sequences, as_tensor, has_room


def test_a_read_only_array_shares_its_memory_without_a_warning():
    array = np.arange(6.0).reshape(2, 3)
    array.flags.writeable = False
    tensor = as_tensor(array)
    assert tensor.data_ptr() == array.ctypes.data
    np.testing.assert_array_equal(tensor.numpy(), array)
    del array
    # The tensor keeps the memory.
    assert tensor.sum() == 15


def test_negative_strides_are_copied():
    array = np.arange(6.0)[::-1]
    np.testing.assert_array_equal(as_tensor(array).numpy(), array)


def test_batches_cover_every_row_once_and_slice_the_resident_tensor():
    X = torch.arange(10.0).reshape(10, 1, 1)
    data = Sequences(X, torch.arange(10))
    plain = list(Batches(data, 4))
    assert [len(y) for _, y in plain] == [4, 4, 2]
    assert plain[1][0].data_ptr() == X[4:].data_ptr()
    shuffled = torch.cat([y for _, y in Batches(data, 4, torch.Generator().manual_seed(0))])
    assert sorted(shuffled.tolist()) == list(range(10))
    assert shuffled.tolist() != list(range(10))


def test_part_of_the_rows_keeps_its_weights():
    X = torch.arange(4.0).reshape(4, 1, 1)
    data = Sequences(X, torch.arange(4), torch.tensor([1.0, 2.0, 3.0, 100.0]), torch.tensor([0, 2]))
    (batch,) = Batches(data, 10)
    assert len(data) == 2
    assert batch[1].tolist() == [0, 2]
    # Weights 1 and 3 have mean 2; the losses 10 and 20 have weighted mean (10 + 60) / 4.
    assert batch.mean(torch.tensor([10.0, 20.0])).item() == pytest.approx(17.5)


def test_half_of_a_device_is_room_for_data(monkeypatch):
    assert has_room(torch.device("cpu"), 2**60)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert has_room(torch.device("cuda"), 500)
    assert not has_room(torch.device("cuda"), 501)
