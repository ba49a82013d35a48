"""Input noise: its law, its seed, its blocks of rows."""

import numpy as np
import pytest
import scipy.stats
import torch

from sklearn_rnnbound.training import noise
from sklearn_rnnbound.training.noise import InputNoise, input_chunks

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
    sample = torch.full((5000, 10, 10), torch.nan, dtype=dtype)
    assert InputNoise(kind, STD).sample_(sample, generator) is sample
    values = sample.double().flatten().numpy()
    assert LAWS[kind].std() == pytest.approx(STD)
    assert scipy.stats.kstest(values, LAWS[kind].cdf).pvalue > 1e-4
    # Five standard errors of a mean and of a standard deviation.
    kurtosis = float(LAWS[kind].stats("k")) + 3
    assert abs(values.mean()) < 5 * STD / np.sqrt(values.size)
    assert abs(values.std() - STD) < 5 * STD * np.sqrt((kurtosis - 1) / (4 * values.size))
    if kind == "uniform":
        assert np.abs(values).max() <= np.sqrt(3) * STD * (1 + 1e-6)


def test_chunks_without_noise_are_the_data(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 12)
    X = torch.arange(42.0).reshape(7, 3, 2)
    chunks = list(input_chunks(X))
    assert [len(chunk) for chunk in chunks] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(chunks), X)
    assert chunks[0].data_ptr() == X.data_ptr()


@pytest.mark.parametrize("kind", LAWS)
def test_same_seed_gives_the_same_noise_in_every_pass(kind, monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 50)
    X = torch.zeros(50, 3, 2)
    law = InputNoise(kind, 1.0)
    first, other = (torch.cat(list(input_chunks(X, law, seed))) for seed in (1, 2))
    again = []
    for chunk, _ in zip(input_chunks(X, law, 1), input_chunks(X, law, 2), strict=True):
        # Other passes in between and draws from the global generator leave it alone.
        next(input_chunks(X, law, 1))
        torch.rand(3)
        again.append(chunk)
    assert [len(chunk) for chunk in again] == [8] * 6 + [2]
    assert torch.equal(first, torch.cat(again))
    assert not torch.equal(first, other)
    assert len(first.unique()) == first.numel()
    assert not X.any()


@pytest.mark.parametrize("kind", LAWS)
def test_a_draw_depends_on_nothing_but_shape_and_seed(kind):
    law = InputNoise(kind, STD)
    before = torch.get_rng_state()
    draws = [
        law.sample_(torch.full((40, 3), content), torch.Generator().manual_seed(5))
        for content in (0.0, 1e30, torch.inf)
    ]
    assert torch.equal(draws[0], draws[1])
    assert torch.equal(draws[0], draws[2])
    assert torch.equal(torch.get_rng_state(), before)
    # Twice the standard deviation is twice the draw.
    twice = InputNoise(kind, 2 * STD)
    draw = twice.sample_(torch.empty(40, 3), torch.Generator().manual_seed(5))
    torch.testing.assert_close(draw, 2 * draws[0], rtol=1e-6, atol=1e-6)


def test_noise_does_not_depend_on_the_data_nor_on_their_layout(monkeypatch):
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", 24)
    X = torch.arange(60.0, dtype=torch.float64).reshape(10, 3, 2)
    steps_first = X.transpose(0, 1).contiguous().transpose(0, 1)
    law = InputNoise("gaussian", 1.0)
    noisy, same, noise_alone = (
        torch.cat(list(input_chunks(inputs, law, 3)))
        for inputs in (X, steps_first, torch.zeros_like(X))
    )
    assert torch.equal(noisy, same)
    torch.testing.assert_close(noisy - X, noise_alone, rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(100, 3, 2), (100, 1, 50), (5, 40, 4)])
@pytest.mark.parametrize("law", [None, InputNoise("gaussian", 1.0)])
@pytest.mark.parametrize(("most_rows", "most_entries"), [(1024, 1000), (30, 1000), (1024, 1)])
def test_blocks_are_as_large_as_their_limits_allow(
    shape, law, most_rows, most_entries, monkeypatch
):
    monkeypatch.setattr(noise, "_CHUNK_ROWS", most_rows)
    monkeypatch.setattr(noise, "_CHUNK_ENTRIES", most_entries)
    *full, last = (len(chunk) for chunk in input_chunks(torch.zeros(shape), law))
    assert sum(full) + last == shape[0]
    # A row larger than a block is a block.
    limit = max(1, min(most_rows, most_entries // (shape[1] * shape[2])))
    assert set(full) <= {limit}
    assert 1 <= last <= limit
