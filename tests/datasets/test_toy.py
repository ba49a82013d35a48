"""Data sets that are embedded or drawn."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklearn_rnnbound.datasets import load_digit_sequences, make_gaussian_sequences


def test_digit_sequences_are_the_rows_of_the_images():
    X, y = load_digit_sequences()
    digits = load_digits()
    np.testing.assert_array_equal(X.reshape(1797, 64) * 16, digits.data)
    np.testing.assert_array_equal(y, digits.target)


@pytest.mark.parametrize("correlation", [0.0, 0.7, -0.15])
def test_gaussian_sequences_have_the_announced_second_moment(correlation):
    sequences = make_gaussian_sequences(
        200_000, 3, 2, correlation=correlation, flip_y=0.2, random_state=0
    )
    flat = sequences.data.reshape(len(sequences.data), -1)
    moment = sequences.second_moment
    np.testing.assert_array_equal(np.diag(moment), 1)
    np.testing.assert_array_equal(moment[~np.eye(6, dtype=bool)], correlation)
    # Each entry of the empirical moment has a standard deviation below sqrt(2 / n).
    np.testing.assert_allclose(flat.T @ flat / len(flat), moment, atol=5 * np.sqrt(2 / 200_000))
    np.testing.assert_allclose(flat.mean(0), 0, atol=5 / np.sqrt(200_000))
    np.testing.assert_allclose(sequences.min_eigenvalue, np.linalg.eigvalsh(moment)[0], rtol=1e-12)
    closed_form = 1 - correlation if correlation >= 0 else 1 + 5 * correlation
    np.testing.assert_allclose(sequences.min_eigenvalue, closed_form)


def test_gaussian_labels_follow_the_weights_but_for_the_flips():
    sequences = make_gaussian_sequences(100_000, 4, 3, correlation=0.3, random_state=1)
    weights = sequences.weights
    assert weights.shape == (4, 3)
    assert np.ptp(weights) == 0
    np.testing.assert_allclose(weights.ravel() @ sequences.second_moment @ weights.ravel(), 1)
    projected = np.einsum("ntj,tj->n", sequences.data, weights)
    error = np.mean((projected > 0) != sequences.target)
    assert sequences.bayes_risk == 0.1
    assert abs(error - 0.1) < 5 * np.sqrt(0.1 * 0.9 / 100_000)
    # A flip does not depend on the sequence.
    far = np.abs(projected) > 1
    assert abs(np.mean((projected > 0)[far] != sequences.target[far]) - 0.1) < 0.01


def test_gaussian_labels_without_flips():
    sequences = make_gaussian_sequences(500, flip_y=0, random_state=0)
    np.testing.assert_array_equal(sequences.target, sequences.data.sum((1, 2)) > 0)
    assert sequences.bayes_risk == 0.0


def test_gaussian_sequences_repeat_and_leave_the_global_generator_alone():
    state = np.random.get_state()  # noqa: NPY002 - the legacy state is watched
    first = make_gaussian_sequences(5, random_state=3)
    second = make_gaussian_sequences(5, random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_array_equal(first.target, second.target)
    assert not np.array_equal(make_gaussian_sequences(5).data, make_gaussian_sequences(5).data)
    for before, after in zip(state, np.random.get_state(), strict=True):  # noqa: NPY002 - the legacy state is watched
        np.testing.assert_array_equal(before, after)


def test_gaussian_sequence_of_one_entry():
    sequences = make_gaussian_sequences(10, 1, 1, random_state=0)
    assert sequences.data.shape == (10, 1, 1)
    assert sequences.min_eigenvalue == 1.0
    with pytest.raises(ValueError, match="correlation must be 0"):
        make_gaussian_sequences(10, 1, 1, correlation=0.5)


@pytest.mark.parametrize("correlation", [-1 / 9, -0.5, 1.0])
def test_correlation_outside_its_range(correlation):
    with pytest.raises(ValueError, match="correlation"):
        make_gaussian_sequences(10, 5, 2, correlation=correlation)


@pytest.mark.parametrize("params", [{"flip_y": 0.6}, {"n_steps": 0}, {"n_samples": 2.5}])
def test_gaussian_parameters_are_checked(params):
    with pytest.raises(ValueError, match=next(iter(params))):
        make_gaussian_sequences(**params)
