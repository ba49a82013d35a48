"""Series as sequences: padding and scaling."""

import math
import pickle
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import skops.io
import torch
from conftest import make_classifier
from data import data_folder, japanese_vowels
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_rnnbound.datasets import load_ts
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler

# Series of different lengths

RAGGED = [
    np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
    np.array([[7.0, 8.0]]),
    np.array([[9.0, 1.0], [2.0, 3.0]]),
]
PADDED = np.array(
    [
        [[1, 2], [3, 4], [5, 6]],
        [[0, 0], [0, 0], [7, 8]],
        [[0, 0], [9, 1], [2, 3]],
    ],
    dtype=float,
)


def object_array(series):
    array = np.empty(len(series), dtype=object)
    array[:] = series
    return array


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        object_array,
        lambda series: [values.tolist() for values in series],
        lambda series: [torch.from_numpy(values) for values in series],
        lambda series: PADDED,
        lambda series: torch.from_numpy(PADDED),
        lambda series: PADDED.astype(object),
    ],
)
def test_series_are_padded_in_front(form):
    padder = SequencePadder().fit(form(RAGGED))
    X = padder.transform(form(RAGGED))
    assert isinstance(X, np.ndarray)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X, PADDED)
    assert padder.length_ == 3
    assert padder.n_features_in_ == 2


@pytest.mark.parametrize(
    "series",
    [
        [[1, 2, 3], [4, 5]],
        [np.array([1, 2, 3]), np.array([[4], [5]])],
        [[[1], [2], [3]], [4, 5]],
        np.array([[1, 2, 3], [0, 4, 5]]),
        [[1.0, 2.0, 3.0], (4.0, 5.0)],
    ],
)
def test_series_of_one_feature(series):
    X = SequencePadder().fit_transform(series)
    np.testing.assert_array_equal(X, [[[1], [2], [3]], [[0], [4], [5]]])
    assert X.dtype == np.float64


@pytest.mark.parametrize("as_array", [False, True])
def test_steps_kept_of_long_series(as_array):
    series = PADDED if as_array else RAGGED
    first = SequencePadder(2).fit_transform(series)
    np.testing.assert_array_equal(first[0], [[1, 2], [3, 4]])
    last = SequencePadder(2, keep="last").fit_transform(series)
    np.testing.assert_array_equal(last[0], [[3, 4], [5, 6]])
    # Padding goes first, whichever end is kept.
    for X in (first, last):
        np.testing.assert_array_equal(X[1:], [[[0, 0], [7, 8]], [[9, 1], [2, 3]]])


def test_only_surplus_zeros_are_dropped():
    series = [[0, 0, 1, 0, 2], [0, 0, 0, 0, 0], [1, 0, 0, 0, 3]]
    X = SequencePadder(4).fit_transform(series)[:, :, 0]
    np.testing.assert_array_equal(X, [[0, 1, 0, 2], [0, 0, 0, 0], [1, 0, 0, 0]])
    X = SequencePadder(2).fit_transform(series)[:, :, 0]
    np.testing.assert_array_equal(X, [[1, 0], [0, 0], [1, 0]])


@pytest.mark.parametrize("keep", ["first", "last"])
def test_padding_in_two_goes_is_padding_in_one(keep):
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(length, 3)) for length in rng.integers(1, 12, size=30)]
    once = SequencePadder(5, keep=keep).fit_transform(series)
    twice = SequencePadder(5, keep=keep).fit_transform(SequencePadder().fit_transform(series))
    np.testing.assert_array_equal(once, twice)
    for values, padded in zip(series, once, strict=True):
        kept = values[:5] if keep == "first" else values[-5:]
        np.testing.assert_array_equal(padded, np.vstack([np.zeros((5 - len(kept), 3)), kept]))


def test_length_and_sample_that_it_depends_on():
    learned = SequencePadder().fit(RAGGED)
    assert learned.transform([np.ones((9, 2))]).shape == (1, 3, 2)
    assert learned.transform([np.ones((1, 2))]).shape == (1, 3, 2)
    assert learned.n_samples_fit_ == 3
    given = SequencePadder(7).fit(RAGGED)
    assert given.transform(RAGGED).shape == (3, 7, 2)
    assert given.n_samples_fit_ == 0


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ("fff", np.float32),
        ("ffd", np.float64),
        ("ddd", np.float64),
        ("iii", np.float64),
        ("fif", np.float64),
    ],
)
def test_type_of_padded_series(dtypes, expected):
    series = [values.astype(dtype) for values, dtype in zip(RAGGED, dtypes, strict=True)]
    X = SequencePadder().fit_transform(series)
    assert X.dtype == expected
    np.testing.assert_array_equal(X, PADDED)
    assert SequencePadder().fit_transform(PADDED.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "no series"),
        ([[1, 2], []], "number 1 of X is not a series of finite numbers .*minimum of 1"),
        ([np.ones((2, 0))], "number 0 of X .*0 feature"),
        ([np.ones((2, 3)), np.ones((2, 3)), np.ones((4, 2))], "number 0 has 3 and number 2 has 2"),
        ([[1, 2], [1, np.nan]], "number 1 of X .*NaN"),
        ([[1, 2], 3], "number 1 of X .*scalar"),
        ([np.ones((2, 2, 2))], "number 0 of X .*dim 3"),
        ([[[1, 2], [3]]], "number 0 of X .*inhomogeneous"),
        ([["a", "b"]], "number 0 of X .*'a'"),
        ([np.array(["2020"], "M8[Y]")], "number 0 of X .*dates"),
        (np.array([["2020"]], "M8[Y]"), "dates"),
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.ones(3), "Reshape your data"),
        (np.ones((2, 3, 4, 5)), r"shape \(2, 3, 4, 5\)"),
        (np.ones((2, 0, 3)), r"shape \(2, 0, 3\)"),
        (None, "Expected 2D array"),
        ("abc", "'abc'"),
    ],
)
def test_wrong_series(series, message):
    with pytest.raises(ValueError, match=message):
        SequencePadder().fit(series)
    with pytest.raises(ValueError, match=message):
        SequencePadder().fit([[1]]).transform(series)


@pytest.mark.parametrize(
    "series", [{0: [1, 2]}, (values for values in RAGGED), scipy.sparse.csr_array(np.ones((2, 2)))]
)
def test_series_of_wrong_types(series):
    with pytest.raises(TypeError):
        SequencePadder().fit(series)


def test_series_of_other_features_than_in_fit():
    padder = SequencePadder().fit(RAGGED)
    for series in ([np.ones((4, 3))], [[1, 2, 3]], np.ones((1, 4, 3))):
        with pytest.raises(ValueError, match=r"features per step, but SequencePadder .* with 2"):
            padder.transform(series)
    with pytest.raises(NotFittedError):
        SequencePadder().transform(RAGGED)


def test_padding_has_no_columns_to_name():
    assert not hasattr(SequencePadder(), "set_output")
    with config_context(transform_output="pandas"):
        assert isinstance(SequencePadder().fit_transform(RAGGED), np.ndarray)


# Scales


def ragged(n, d, seed, dtype=np.float64):
    """Series of 1 to 11 steps, far from zero, each feature of its own scale."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** np.arange(d)
    return [
        ((rng.normal(size=(length, d)) + 5) * scale).astype(dtype)
        for length in rng.integers(1, 12, size=n)
    ]


@pytest.mark.parametrize(
    ("with_mean", "with_std"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_scale_is_that_of_all_steps_in_one_table(with_mean, with_std):
    series = ragged(40, 3, seed=0)
    reference = StandardScaler(with_mean=with_mean, with_std=with_std).fit(np.vstack(series))
    X = SequencePadder(14).fit_transform(series)
    scaler = SequenceScaler(with_mean=with_mean, with_std=with_std)
    scaled = scaler.fit_transform(X)
    assert scaled.shape == X.shape
    for values, sequence in zip(series, scaled, strict=True):
        np.testing.assert_allclose(sequence[14 - len(values) :], reference.transform(values))
        assert not sequence[: 14 - len(values)].any()
    np.testing.assert_allclose(scaler.mean_, reference.mean_ if with_mean else np.zeros(3))
    np.testing.assert_allclose(scaler.scale_, reference.scale_ if with_std else np.ones(3))
    assert scaler.n_samples_fit_ == (40 if with_mean or with_std else 0)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), X, rtol=1e-12)


def test_padding_of_new_sequences_stays_zero():
    scaler = SequenceScaler().fit(SequencePadder().fit_transform(ragged(20, 2, seed=0)))
    series = ragged(20, 2, seed=1)
    short = SequencePadder().fit_transform(series)
    long = np.pad(short, [(0, 0), (30, 0), (0, 0)])
    np.testing.assert_array_equal(
        scaler.transform(long), np.pad(scaler.transform(short), [(0, 0), (30, 0), (0, 0)])
    )


def test_a_network_does_not_see_the_padding():
    series = ragged(60, 2, seed=0)
    y = [len(values) % 2 for values in series]
    X = SequenceScaler().fit_transform(SequencePadder(14).fit_transform(series))
    clf = make_classifier().fit(X, y)
    for sequence, values in zip(X, series, strict=True):
        np.testing.assert_allclose(
            clf.predict_proba(sequence[None, 14 - len(values) :]),
            clf.predict_proba(sequence[None]),
            rtol=1e-12,
        )


def test_zeros_inside_a_sequence_are_steps():
    X = np.array([[[0.0], [1.0], [0.0], [2.0]], [[0.0], [0.0], [3.0], [0.0]]])
    scaler = SequenceScaler().fit(X)
    assert scaler.mean_ == pytest.approx(6 / 5)
    assert scaler.scale_ == pytest.approx(math.sqrt(14 / 5 - 36 / 25))
    scaled = scaler.transform(X)
    np.testing.assert_allclose(scaled[0, 2], -scaler.mean_ / scaler.scale_)
    np.testing.assert_array_equal(scaled[:, 0], 0)
    # One feature that is not zero makes a step.
    scaler.fit([[[0.0, 0.0], [0.0, 2.0], [4.0, 4.0]]])
    np.testing.assert_array_equal(scaler.mean_, [2, 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.1, 1e30, -7.3e-30])
def test_constant_features_become_exact_zeros(value, dtype):
    X = np.full((7, 11, 2), value, dtype)
    X[:, :, 1] = np.arange(1, 12)
    scaler = SequenceScaler().fit(X)
    assert scaler.scale_[0] == 1
    scaled = scaler.transform(X)
    np.testing.assert_array_equal(scaled[:, :, 0], 0)
    np.testing.assert_allclose(scaled[:, :, 1].std(), 1, rtol=1e-6)
    np.testing.assert_array_equal(scaler.inverse_transform(scaled)[:, :, 0], X[:, :, 0])


def test_sequences_of_padding_alone():
    X = np.zeros((3, 4, 2))
    scaler = SequenceScaler().fit(X)
    np.testing.assert_array_equal(scaler.transform(X), X)
    np.testing.assert_array_equal(scaler.transform(X + 1), X + 1)


def test_float32_is_scaled_with_the_care_of_float64():
    X = np.random.default_rng(0).normal(1000, 1, size=(300, 40, 2)).astype(np.float32)
    scaler = SequenceScaler().fit(X)
    exact = X.astype(np.float64).reshape(-1, 2)
    np.testing.assert_allclose(scaler.mean_, exact.mean(0), rtol=1e-13)
    np.testing.assert_allclose(scaler.scale_, exact.std(0), rtol=1e-11)
    scaled = scaler.transform(X)
    assert scaled.dtype == np.float32
    expected = (X.astype(np.float64) - exact.mean(0)) / exact.std(0)
    np.testing.assert_allclose(scaled, expected, rtol=1e-7, atol=1e-7)
    assert scaler.inverse_transform(scaled).dtype == np.float32


def test_many_sequences_are_scaled_a_part_at_a_time(tmp_path):
    path = tmp_path / "X.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (3000, 100, 40))
    X[:] = np.random.default_rng(0).normal(3, 2, size=X.shape)
    X[::3, :50] = 0
    X = np.load(path, mmap_mode="r")
    tracemalloc.start()
    try:
        scaler = SequenceScaler().fit(X)
        fit_peak = tracemalloc.get_traced_memory()[1]
        scaled = scaler.transform(X)
        transform_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fit_peak < X.nbytes
    assert transform_peak < 2 * X.nbytes
    observed = np.vstack([X[np.arange(3000) % 3 > 0].reshape(-1, 40), X[::3, 50:].reshape(-1, 40)])
    np.testing.assert_allclose(scaler.mean_, observed.mean(0, dtype=float), rtol=1e-10)
    np.testing.assert_allclose(scaler.scale_, observed.std(0, dtype=float), rtol=1e-10)
    assert not scaled[::3, :50].any()
    assert abs(scaled[1::3].mean(dtype=float)) < 0.01


@pytest.mark.parametrize("step_size", [1, 2, 3, 6])
def test_tables_are_read_as_steps(step_size):
    X = np.random.default_rng(0).normal(2, 3, size=(10, 6))
    X[:4, :step_size] = 0
    scaler = SequenceScaler(step_size=step_size).fit(X)
    sequences = X.reshape(10, 6 // step_size, step_size)
    other = SequenceScaler().fit(sequences)
    np.testing.assert_array_equal(scaler.mean_, other.mean_)
    scaled = scaler.transform(X)
    np.testing.assert_array_equal(scaled.reshape(sequences.shape), other.transform(sequences))
    np.testing.assert_allclose(scaler.inverse_transform(scaled), X)
    assert scaler.n_features_in_ == 6
    assert other.n_features_in_ == step_size
    # As in the classifier, 3-D sequences of any length go with a table of fit.
    np.testing.assert_array_equal(
        scaler.transform(sequences[:, -1:]), other.transform(sequences[:, -1:])
    )


def test_data_frames_keep_their_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"a": [1.0, 2.0], "b": [3.0, 5.0], "c": [0.0, 1.0], "d": [1.0, 2.0]}, index=[7, 9]
    )
    scaler = SequenceScaler(step_size=2).set_output(transform="pandas")
    scaled = scaler.fit_transform(frame)
    assert list(scaled.columns) == list("abcd")
    assert list(scaled.index) == [7, 9]
    assert list(scaler.get_feature_names_out()) == list("abcd")
    expected = SequenceScaler(step_size=2).fit_transform(frame.to_numpy())
    np.testing.assert_array_equal(scaled.to_numpy(), expected)
    np.testing.assert_allclose(scaler.inverse_transform(scaled), frame)
    X = np.ones((2, 3, 2))
    scaler.fit(X)
    assert not hasattr(scaler, "feature_names_in_")
    assert list(scaler.get_feature_names_out()) == ["x0", "x1"]
    with pytest.raises(ValueError, match=r"three dimensions.*set_output\(transform='default'\)"):
        scaler.transform(X)
    scaler.set_output(transform="default").transform(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (RAGGED, "different lengths"),
        (np.full((2, 3, 4), np.nan), "NaN"),
        (np.ones((2, 0, 4)), "a step and a feature"),
        (np.ones((2, 5)), "5 columns, which is not a multiple of step_size=2"),
    ],
)
def test_wrong_sequences(X, message):
    with pytest.raises(ValueError, match=message):
        SequenceScaler(step_size=2).fit(X)


@pytest.mark.parametrize(
    "estimator",
    [SequencePadder(0), SequencePadder(keep="middle"), SequenceScaler(with_mean=2)],
)
def test_wrong_parameters(estimator):
    with pytest.raises(ValueError, match="parameter of Sequence"):
        estimator.fit(PADDED)


def test_sequences_that_do_not_go_with_those_of_fit():
    scaler = SequenceScaler(step_size=2).fit(np.ones((2, 3, 4)))
    for method in (scaler.transform, scaler.inverse_transform):
        with pytest.raises(ValueError, match=r"5 features per step, but SequenceScaler .* with 4"):
            method(np.ones((2, 3, 5)))
    with pytest.raises(ValueError, match="fitted on sequences of shape"):
        scaler.transform(np.ones((2, 4)))
    with pytest.raises(ValueError, match="4 features, but SequenceScaler is expecting 6"):
        scaler.fit(np.ones((2, 6))).transform(np.ones((2, 4)))
    with pytest.raises(NotFittedError):
        SequenceScaler().transform(np.ones((2, 3, 4)))


def test_series_in_a_pipeline():
    series = ragged(60, 2, seed=0)
    y = np.array(["up" if len(values) > 6 else "down" for values in series])
    pipeline = make_pipeline(SequencePadder(12), SequenceScaler(), make_classifier(max_iter=30))
    pipeline.fit(series, y)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict_proba(series), pipeline.predict_proba(series))
    saved = skops.io.dumps(pipeline[:-1])
    trusted = skops.io.get_untrusted_types(data=saved)
    assert len(trusted) == 2
    again = skops.io.loads(saved, trusted=trusted)
    np.testing.assert_array_equal(again.transform(series), pipeline[:-1].transform(series))
    copied = clone(pipeline).fit(series, y)
    np.testing.assert_array_equal(copied.predict_proba(series), pipeline.predict_proba(series))
    assert cross_val_score(pipeline, series, y, cv=3).mean() > 0.5


# Real data


def test_japanese_vowels_in_three_lines():
    pytest.importorskip("aeon", reason="the extra series is not installed")
    X, y, X_test, y_test = japanese_vowels()
    folder = data_folder() / "uea" / "JapaneseVowels"
    train, test = (load_ts(folder / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))
    scaled = make_pipeline(SequencePadder(X.shape[1]), SequenceScaler()).fit(train.data)
    np.testing.assert_allclose(scaled.transform(train.data), X, atol=1e-12)
    np.testing.assert_allclose(scaled.transform(test.data), X_test, atol=1e-12)
    np.testing.assert_array_equal(train.target, y)
    np.testing.assert_array_equal(test.target, y_test)
