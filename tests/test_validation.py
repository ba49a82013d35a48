"""Checks of input: what three dimensions and steps add to scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from conftest import make_classifier
from skorch.callbacks import Callback


def test_table_is_read_as_steps_of_step_size_columns(small):
    X, y = small
    sequences = make_classifier().fit(X, y)
    table = make_classifier(step_size=2).fit(X.reshape(60, 10), y)
    assert (sequences.n_features_in_, table.n_features_in_) == (2, 10)
    np.testing.assert_array_equal(
        sequences.decision_function(X), table.decision_function(X.reshape(60, 10))
    )
    # It may be told three dimensions, of any number of steps.
    np.testing.assert_array_equal(table.predict(X), sequences.predict(X))
    with pytest.raises(ValueError, match=r"10 columns.*step_size=3"):
        make_classifier(step_size=3).fit(X.reshape(60, 10), y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_of_the_data_is_kept(small, dtype):
    X, y = small
    clf = make_classifier().fit(X.astype(dtype), y)
    assert clf.U_.dtype == clf.W_.dtype == clf.V_.dtype == dtype
    assert clf.predict_proba(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        torch.from_numpy,
        np.asfortranarray,
        lambda X: X[::-1][::-1],
        lambda X: X.astype(object),
    ],
    ids=["list", "tensor", "fortran", "strided", "object"],
)
def test_kinds_of_sequences_give_the_same_fit(small, convert):
    X, y = small
    expected = make_classifier().fit(X, y)
    clf = make_classifier().fit(convert(X), y)
    np.testing.assert_allclose(clf.W_, expected.W_, rtol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(convert(X)), expected.predict_proba(X), rtol=1e-12)
    counts = (10 * X).astype(int)
    assert make_classifier(max_iter=1).fit(counts, y).W_.dtype == np.float64


def test_data_frame_keeps_its_names(small):
    X, y = small
    frame = pd.DataFrame(X.reshape(60, 10), columns=[f"c{i}" for i in range(10)])
    clf = make_classifier(step_size=2).fit(frame, pd.Series(y))
    assert clf.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame.rename(columns={"c0": "other"}))
    clf.fit(X, y)
    assert not hasattr(clf, "feature_names_in_")


@pytest.mark.parametrize("early_stopping", [False, True])
def test_memory_map_is_not_copied(small, tmp_path, early_stopping):
    X, y = small
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    seen = []

    class Watch(Callback):
        def on_epoch_begin(self, net, dataset_train, **kwargs):
            seen.append(dataset_train.X.data_ptr())

    clf = make_classifier(callbacks=[Watch()], early_stopping=early_stopping).fit(mapped, y)
    assert set(seen) == {mapped.ctypes.data}
    expected = make_classifier(early_stopping=early_stopping).fit(X, y)
    np.testing.assert_array_equal(clf.W_, expected.W_)
    np.testing.assert_array_equal(clf.predict(mapped), expected.predict(X))


RAGGED = [np.zeros((3, 1)), np.zeros((2, 1))]


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.full((2, 3, 1), np.nan), ValueError, "X contains NaN"),
        (np.full((2, 3, 1), np.inf), ValueError, "X contains infinity"),
        (np.zeros(2), ValueError, "Expected 2D array, got 1D"),
        (np.zeros((2, 3, 1, 1)), ValueError, r"shape \(2, 3, 1, 1\): .*\(n, L, d\)"),
        (np.zeros((2, 0, 1)), ValueError, "a step and a feature at least"),
        (np.zeros((2, 3, 0)), ValueError, "a step and a feature at least"),
        (np.zeros((0, 3, 1)), ValueError, r"0 sample\(s\)"),
        (np.zeros((2, 3, 1)) * 1j, ValueError, "Complex"),
        (np.full((2, 3, 1), "a"), ValueError, "could not convert|numeric"),
        (np.zeros((2, 3, 1), "datetime64[s]"), ValueError, "holds dates"),
        (pd.DataFrame({"day": pd.to_datetime(["2020-01-01"] * 2)}), ValueError, "holds dates"),
        (scipy.sparse.csr_array(np.ones((2, 3))), TypeError, "(?i)sparse"),
        ([[[1.0]], [[1.0], [2.0]]], ValueError, "different lengths.*front"),
        (np.array([*RAGGED, None], dtype=object)[:2], ValueError, "different lengths.*front"),
    ],
)
def test_what_are_no_sequences(X, error, message):
    clf = make_classifier()
    with pytest.raises(error, match=message):
        clf.fit(X, [0, 1])
    assert not [name for name in vars(clf) if name.endswith("_")]


def test_prediction_needs_the_features_of_the_fit(fitted, small):
    X, y = small
    with pytest.raises(ValueError, match=r"3 features per step.*fitted with 2"):
        fitted.predict(np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match=r"2 dimensions.*\(n, L, 2\)"):
        fitted.predict(np.zeros((4, 10)))
    table = make_classifier(step_size=2).fit(X.reshape(60, 10), y)
    with pytest.raises(ValueError, match=r"8 features.*10 features"):
        table.predict(np.zeros((4, 8)))
    with pytest.raises(ValueError, match=r"3 features per step.*fitted with 2"):
        table.predict(np.zeros((4, 5, 3)))
    single = make_classifier().fit(X.astype(np.float32), y)
    with pytest.raises(ValueError, match="out of the range of float32"):
        single.predict(X * 1e300)
