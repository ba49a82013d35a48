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
    sample = InputNoise(kind, STD).sample((5000, 10, 10), generator=generator, dtype=dtype)
    assert sample.dtype == dtype
    values = sample.double().flatten().numpy()
    assert LAWS[kind].std() == pytest.approx(STD)
    assert scipy.stats.kstest(values, LAWS[kind].cdf).pvalue > 1e-4
    # Five standard errors of a mean and of a standard deviation.
    kurtosis = float(LAWS[kind].stats("k")) + 3
    assert abs(values.mean()) < 5 * STD / np.sqrt(values.size)
    assert abs(values.std() - STD) < 5 * STD * np.sqrt((kurtosis - 1) / (4 * values.size))
    if kind == "uniform":
        assert np.abs(values).max() <= np.sqrt(3) * STD * (1 + 1e-6)


@pytest.mark.parametrize("kind", LAWS)
def test_entries_are_independent(kind):
    generator = torch.Generator().manual_seed(0)
    sample = InputNoise(kind, STD).sample((20_000, 2, 3), generator=generator, dtype=torch.float64)
    correlation = np.corrcoef(sample.flatten(1).numpy().T)
    assert np.abs(correlation - np.eye(6)).max() < 5 / np.sqrt(20_000)


def test_chunks_without_noise_are_the_data(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 24)
    X = torch.arange(42.0).reshape(7, 3, 2)
    chunks = list(input_chunks(X, width=4))
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(chunks), X)
    assert chunks[0].data_ptr() == X.data_ptr()


@pytest.mark.parametrize("kind", LAWS)
def test_same_seed_gives_the_same_noise_in_every_pass(kind, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 100)
    X = torch.zeros(50, 3, 2)
    law = InputNoise(kind, 1.0)
    first, other = (torch.cat(list(input_chunks(X, 4, law, seed))) for seed in (1, 2))
    again = []
    for chunk, _ in zip(input_chunks(X, 4, law, 1), input_chunks(X, 4, law, 2), strict=True):
        # Other passes in between and draws from the global generator leave it alone.
        next(input_chunks(X, 4, law, 1))
        torch.rand(3)
        again.append(chunk)
    assert [len(chunk) for chunk in again] == [8] * 6 + [2]
    assert torch.equal(first, torch.cat(again))
    assert not torch.equal(first, other)
    assert len(first.unique()) == first.numel()
    assert not X.any()


def test_noise_is_added_to_the_data_in_its_own_precision():
    X = torch.full((2000, 2, 1), 1e6)
    noisy = torch.cat(list(input_chunks(X, 1, InputNoise("uniform", 1.0))))
    assert noisy.dtype == X.dtype
    assert (noisy - X).abs().max() <= 2
    assert (noisy != X).any()


@pytest.mark.parametrize("width", [1, 7, 64])
@pytest.mark.parametrize("shape", [(100, 3, 2), (100, 1, 50), (5, 40, 4)])
@pytest.mark.parametrize("law", [None, InputNoise("gaussian", 1.0)])
def test_blocks_are_no_larger_than_needed(width, shape, law, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 1000)
    sizes = [len(chunk) for chunk in input_chunks(torch.zeros(shape), width, law)]
    assert sum(sizes) == shape[0]
    assert max(sizes) == 1 or max(sizes) * shape[1] * max(width, shape[2]) <= 1000


def test_a_row_larger_than_a_block_is_one_block(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 1)
    assert [len(chunk) for chunk in input_chunks(torch.zeros(3, 4, 5), 6)] == [1, 1, 1]
