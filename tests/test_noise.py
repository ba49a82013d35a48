"""Input noise: its law, its seed, its blocks of rows."""

import numpy as np
import pytest
import scipy.stats
import torch

from sklearn_rnnbound import noise
from sklearn_rnnbound.noise import InputNoise, input_chunks

STD = 0.7
LAWS = {
    "gaussian": scipy.stats.norm(scale=STD),
    "uniform": scipy.stats.uniform(-np.sqrt(3) * STD, 2 * np.sqrt(3) * STD),
    "laplace": scipy.stats.laplace(scale=STD / np.sqrt(2)),
}


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_law(kind, dtype):
    generator = torch.Generator().manual_seed(0)
    sample = InputNoise(kind, STD).sample((200, 10, 10), generator=generator, dtype=dtype)
    assert sample.dtype == dtype
    values = sample.double().flatten().numpy()
    assert LAWS[kind].std() == pytest.approx(STD)
    assert scipy.stats.kstest(values, LAWS[kind].cdf).pvalue > 1e-4
    assert values.std() == pytest.approx(STD, rel=0.05)


def test_chunks_without_noise_are_the_data(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 24)
    X = torch.arange(42.0).reshape(7, 3, 2)
    chunks = list(input_chunks(X, width=4))
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(chunks), X)
    assert chunks[0].data_ptr() == X.data_ptr()


def test_same_seed_gives_the_same_noise_in_every_pass():
    X = torch.zeros(50, 3, 2)
    law = InputNoise("gaussian", 1.0)
    first, again, other = (torch.cat(list(input_chunks(X, 4, law, seed))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not X.any()


def test_a_row_larger_than_a_block_is_one_block(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 1)
    assert [len(chunk) for chunk in input_chunks(torch.zeros(3, 4, 5), 6)] == [1, 1, 1]
