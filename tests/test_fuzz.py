"""Anything at all as input: a right answer, or an error that says what is wrong."""

import math
from contextlib import contextmanager

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.sparse
import torch
from conftest import make_classifier
from hypothesis import given, settings
from hypothesis import strategies as st

from sklearn_rnnbound import (
    BOUNDS,
    BoundSearch,
    StackedGridSearchCV,
    certify,
    cross_validate_bounds,
    make_bound_scorer,
)
from sklearn_rnnbound.bounds._numeric import kl_inverse, power_sum
from sklearn_rnnbound.bounds.comparison import trivial_complexity, unrolled_complexity
from sklearn_rnnbound.bounds.holdout import binomial_tail_inverse
from sklearn_rnnbound.bounds.occam import occam_kl, quantized
from sklearn_rnnbound.bounds.paper import remark6_radius, theorem1
from sklearn_rnnbound.bounds.peeling import expected_max_abs, expected_max_positive, theorem_p
from sklearn_rnnbound.constraints import project_rows_, row_norm
from sklearn_rnnbound.datasets import make_gaussian_sequences
from sklearn_rnnbound.plotting import (
    BoundCurveDisplay,
    BoundDecompositionDisplay,
    MarginDistributionDisplay,
    SpectrumDisplay,
)
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder
from sklearn_rnnbound.spectrum import eigenvalues, min_eigenvalue

KINDS = {"certified", "plug_in", "order_only"}
few = settings(max_examples=15, derandomize=True, deadline=None)
some = settings(max_examples=60, derandomize=True, deadline=None)
many = settings(max_examples=1500, derandomize=True, deadline=None)


@contextmanager
def nothing_else_changes():
    """The block touches no global state; warnings are errors anyway."""

    def state():
        return (
            np.random.get_state()[1].tolist(),  # noqa: NPY002 - the legacy state is watched
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            np.geterr(),
            mpl.rcParams.copy(),
        )

    before = state()
    yield
    assert state() == before


def assert_told(error, word=""):
    """The error says something, and has the word in it."""
    assert str(error)
    assert word in str(error)


def small_data(n_features=2):
    rng = np.random.default_rng(0)
    y = np.arange(18) % 2
    # Of few bits, so that every floating type holds them.
    X = np.round(4 * rng.normal(size=(18, 3, n_features)) + 8 * y[:, None, None]) / 4
    return X, y


X, Y = small_data()
FLAT = X.reshape(18, 6)


def quick(**params):
    return make_classifier(**{"max_iter": 2, "hidden_size": 3, "batch_size": 6, **params})


# The same numbers in other forms


def memmap(values, tmp_path):
    file = np.memmap(tmp_path / "X", values.dtype, "w+", shape=values.shape)
    file[:] = values
    return np.memmap(tmp_path / "X", values.dtype, "r", shape=values.shape)


def read_only(values, tmp_path):
    values = values.copy()
    values.flags.writeable = False
    return values


FORMS = {
    "list": lambda v, _: v.tolist(),
    "object": lambda v, _: v.astype(object),
    "fortran": lambda v, _: np.asfortranarray(v),
    "strided": lambda v, _: np.repeat(v, 2, axis=1)[:, ::2],
    "backwards": lambda v, _: v[::-1].copy()[::-1],
    "columns backwards": lambda v, _: v[..., ::-1].copy()[..., ::-1],
    "big endian": lambda v, _: v.astype(">f8"),
    "read-only": read_only,
    "memory map": memmap,
    "masked, no mask": lambda v, _: np.ma.MaskedArray(v),
    "long double": lambda v, _: v.astype(np.longdouble),
    "half": lambda v, _: v.astype(np.float16),
    "tensor": lambda v, _: torch.tensor(v),
    "tensor with gradient": lambda v, _: torch.tensor(v, requires_grad=True),
    "tensor of bfloat16": lambda v, _: torch.tensor(v).bfloat16(),
    "transposed tensor": lambda v, _: torch.tensor(v.T.copy()).T if v.ndim == 2 else v,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("flat", [False, True])
def test_the_same_numbers_give_the_same_bits(form, flat, tmp_path):
    values = FLAT if flat else X
    plain = quick(step_size=2 if flat else 1, noise_std=0.1)
    expected = plain.fit(values, Y)
    given_X = FORMS[form](values, tmp_path)
    with nothing_else_changes():
        clf = quick(step_size=2 if flat else 1, noise_std=0.1).fit(given_X, Y)
        scores = clf.decision_function(given_X)
        norm = clf.fisher_rao_norm_(given_X)
        radius = clf.certified_radius_(given_X)
        report = clf.bound_report_(X_train=given_X, y_train=Y)
    np.testing.assert_array_equal(clf.W_, expected.W_)
    np.testing.assert_array_equal(scores, expected.decision_function(values))
    np.testing.assert_array_equal(radius, expected.certified_radius_(values))
    assert norm == expected.fisher_rao_norm_(values)
    same = expected.bound_report_(X_train=values, y_train=Y)
    assert [bound.value for bound in report] == [bound.value for bound in same]
    scaler = SequenceScaler(step_size=2 if flat else 1)
    np.testing.assert_array_equal(scaler.fit_transform(given_X), scaler.fit_transform(values))
    spectra = [SpectrumDisplay.from_data(v, step_size=2 if flat else 1) for v in (given_X, values)]
    np.testing.assert_array_equal(spectra[0].eigenvalues, spectra[1].eigenvalues)
    plt.close("all")


@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "i2", "u4", "i8", ">i4", "u8"])
def test_whole_numbers_are_read_as_such(dtype):
    values = (X > 1).astype(dtype)
    expected = quick().fit(values.astype(float), Y).decision_function(values.astype(float))
    np.testing.assert_array_equal(quick().fit(values, Y).decision_function(values), expected)


def test_input_is_not_written_to():
    values, labels, weights = X.copy(), Y.copy(), np.ones(18)
    clf = quick(noise_std=0.2, beta_w=0.5).fit(values, labels, weights)
    clf.bound_report_(X_train=values, y_train=labels)
    SequenceScaler().fit_transform(values)
    np.testing.assert_array_equal(values, X)
    np.testing.assert_array_equal(labels, Y)
    np.testing.assert_array_equal(weights, 1.0)


# What is no data

NO_DATA = {
    "nothing": None,
    "number": 3.0,
    "text": "text",
    "one dimension": X[:, 0, 0],
    "four dimensions": X[None],
    "no sample": X[:0],
    "one sample": X[:1],
    "no step": X[:, :0],
    "no feature": X[:, :, :0],
    "nan": np.where(X[3, 0, 0] == X, np.nan, X),
    "inf": np.where(X[3, 0, 0] == X, np.inf, X),
    "complex": X + 1j,
    "text entries": X.astype(str),
    "words": np.full(X.shape, "word"),
    "bytes": np.full(X.shape, b"word"),
    "objects": np.full(X.shape, object()),
    "nothing in objects": np.full(X.shape, None),
    "dates": np.full(X.shape, "2020-01-01", dtype="M8[D]"),
    "durations": np.full(X.shape, 3, dtype="m8[s]"),
    "records": np.zeros(X.shape, dtype=[("a", float)]),
    "masked": np.ma.MaskedArray(X, mask=X > 1),
    "ragged": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]] * 9,
    "ragged objects": np.array([np.ones((2, 2)), np.ones((3, 2))] * 9, dtype=object),
    "huge integers": [[10**400, 1]] * 18,
    "sparse": scipy.sparse.csr_array(FLAT),
    "sparse tensor": torch.tensor(FLAT).to_sparse(),
    "complex tensor": torch.tensor(X + 1j),
    "long double out of range": X.astype(np.longdouble) * np.longdouble("1e4000"),
    "too few rows": X[:7],
    "mapping": {"a": 1},
    "function": len,
}


@pytest.mark.parametrize("name", NO_DATA)
def test_what_is_no_data_is_an_error_before_any_work(name):
    values = NO_DATA[name]
    if name == "text entries":
        # scikit-learn reads numbers from text.
        values = np.full(X.shape, "1.0x")
    estimators = [
        quick(),
        BoundSearch(quick(), {"beta_w": [0.5]}, error_score="raise"),
    ]
    if name != "sparse tensor":
        # A search divides the data itself, which torch refuses with an error of its own.
        search = StackedGridSearchCV(quick(), {"beta_w": [0.5]}, cv=2, error_score="raise")
        estimators.append(search)
    for estimator in estimators:
        before = dict(vars(estimator))
        with nothing_else_changes(), pytest.raises((TypeError, ValueError)) as caught:
            estimator.fit(values, Y)
        assert str(caught.value)
        assert vars(estimator) == before


FITTED = quick(noise_std=0.1).fit(X, Y)


METHODS = ["predict", "predict_proba", "certified_radius_", "fisher_rao_norm_", "scaler"]
# One sample is enough for a prediction, and numbers are read from text.
NO_NEW_DATA = sorted(NO_DATA.keys() - {"one sample", "too few rows", "text entries"})
# This norm has the data of fit for none.
CALLS = {(name, method) for name in NO_NEW_DATA for method in METHODS}
CALLS -= {("nothing", "fisher_rao_norm_")}


@pytest.mark.parametrize(("name", "method"), sorted(CALLS))
def test_what_is_no_data_is_an_error_for_a_fitted_estimator(name, method):
    values = NO_DATA[name]
    call = SequenceScaler().fit(X).transform if method == "scaler" else getattr(FITTED, method)
    with nothing_else_changes(), pytest.raises((TypeError, ValueError)) as caught:
        call(values)
    assert str(caught.value)


LABELS = {
    "numbers": Y,
    "bool": Y == 1,
    "floats": Y.astype(float),
    "negative": -5 * Y,
    "text": np.where(Y, "yes", "no"),
    "text of other widths": np.where(Y, "a long label", "b"),
    "objects": np.where(Y, "yes", "no").astype(object),
    "bytes of numbers": Y.astype(">u2"),
    "list": Y.tolist(),
    "tensor": torch.tensor(Y),
    "unsorted": np.where(Y, 2, 9),
    "huge": np.where(Y, 2**62, -(2**62)),
}
NO_LABELS = {
    "one class": np.zeros(18),
    "fractions": Y + 0.5,
    "nan": np.where(Y, np.nan, 1.0),
    "inf": np.where(Y, np.inf, 1.0),
    "nothing": None,
    "nothing in objects": np.where(Y, None, "a"),
    "mixed": np.array([1, "a"] * 9, dtype=object),
    "two columns": np.stack([Y, 1 - Y], axis=1),
    "too few": Y[:7],
    "empty": Y[:0],
    "number": 1,
    "complex": Y + 1j,
    "records": np.zeros(18, dtype=[("a", int)]),
    "masked": np.ma.MaskedArray(Y, mask=Y == 1),
    "sequences": [[1], [1, 2]] * 9,
    "huge integers": [10**400, 1] * 9,
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_kind(name):
    labels = np.asarray(LABELS[name])
    clf = quick().fit(X, LABELS[name])
    assert clf.classes_.tolist() == sorted(set(labels.tolist()))
    assert set(clf.predict(X).tolist()) <= set(labels.tolist())
    np.testing.assert_allclose(clf.predict_proba(X).sum(1), 1.0)
    assert clf.score(X, LABELS[name]) == np.mean(clf.predict(X) == labels)
    # Only the order of the classes matters.
    same = quick().fit(X, np.searchsorted(clf.classes_, labels))
    np.testing.assert_array_equal(same.decision_function(X), clf.decision_function(X))


@pytest.mark.parametrize("name", NO_LABELS)
def test_what_are_no_labels_is_an_error(name):
    clf = quick()
    before = dict(vars(clf))
    with nothing_else_changes(), pytest.raises((TypeError, ValueError)) as caught:
        clf.fit(X, NO_LABELS[name])
    assert str(caught.value)
    assert vars(clf) == before


def test_a_column_of_labels_is_read_with_a_warning():
    with pytest.warns(UserWarning, match="column-vector"):
        clf = quick().fit(X, Y[:, None])
    np.testing.assert_array_equal(clf.W_, quick().fit(X, Y).W_)


@pytest.mark.parametrize(
    "weights",
    [
        *(-np.ones(18), np.zeros(18), np.full(18, np.nan), np.full(18, np.inf), np.ones(7)),
        *("text", np.ones((18, 2)), [1, [2]] * 9),
        *(np.full(18, value) for value in (1j, None, "a")),
    ],
    ids=lambda weights: type(weights).__name__,
)
def test_what_are_no_weights_is_an_error(weights):
    with nothing_else_changes(), pytest.raises((TypeError, ValueError), match=r"\w"):
        quick().fit(X, Y, weights)


@pytest.mark.parametrize("factor", [2.0**e for e in (-1073, -1000, -100, 100, 1023)])
def test_the_unit_of_weights_does_not_matter(factor):
    weights = np.where(Y, 0.5, 1.0)
    found = quick().fit(X, Y, weights * factor)
    np.testing.assert_allclose(found.W_, quick().fit(X, Y, weights).W_, rtol=1e-9)


# Parameters

WRONG = [
    *(None, "text", b"bytes", "", math.nan, math.inf, -1, -1.5, 0, 10**400, 1j, (), (1,)),
    *((1, 2, 3), ("a", "b"), [1.0], [], {}, object(), len, np.ones(2), np.array(1.0), True),
    *(np.float16(0.5), np.int8(3), np.longdouble("1e4000"), 2**31, math.ulp(0.0)),
]


@pytest.mark.parametrize("name", sorted(quick().get_params()))
def test_parameters_of_every_kind(name, tmp_path, monkeypatch):
    # Some are names of folders.
    monkeypatch.chdir(tmp_path)
    for value in WRONG:
        if (name, value is None) == ("random_state", True):
            # By scikit-learn's convention it draws from NumPy's own generator.
            continue
        clf = quick(**{name: value})
        with nothing_else_changes():
            try:
                clf.fit(X, Y)
            except (TypeError, ValueError) as error:
                assert_told(error, name)
                assert not hasattr(clf, "U_")
                continue
            except UserWarning as warning:
                # A minibatch larger than the sample, a floor of the spectrum that cannot hold.
                assert_told(warning, name)
                continue
        assert all(not math.isnan(bound.value) for bound in clf.bound_report_())


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_options_of_the_bound_methods(value):
    calls = [
        lambda: FITTED.generalization_bound_(method=value),
        lambda: FITTED.generalization_bound_(margin=value),
        lambda: FITTED.generalization_bound_(delta=value),
        lambda: FITTED.bound_report_(methods=value),
        lambda: FITTED.bound_report_(value, Y),
        lambda: FITTED.bound_report_(X_train=X, y_train=value),
        lambda: FITTED.bound_report_(simultaneous=value),
        lambda: FITTED.bound_curve_(X, Y, fractions=value, methods="peeling"),
        lambda: FITTED.fisher_rao_norm_(form=value),
        lambda: cross_validate_bounds(quick(), X, Y, cv=2, margin=value),
        lambda: cross_validate_bounds(quick(), X, Y, cv=2, delta=value),
        lambda: make_bound_scorer(value),
        lambda: make_bound_scorer(margin=value),
        lambda: make_bound_scorer(delta=value),
        lambda: certify(value),
        lambda: certify(FITTED, method=value),
        lambda: cross_validate_bounds(quick(), X, Y, cv=2, methods=value),
        lambda: make_gaussian_sequences(value),
        lambda: make_gaussian_sequences(correlation=value),
        lambda: SequencePadder(value).fit(X),
        lambda: SequenceScaler(step_size=value).fit(X),
        lambda: WordVectorEncoder(value).fit(["a"]),
        lambda: BoundDecompositionDisplay.from_estimator(value),
        lambda: MarginDistributionDisplay.from_estimator(FITTED, margin=value),
        lambda: SpectrumDisplay.from_data(X, noise_std=value),
        lambda: BoundCurveDisplay.from_estimator(quick(), X, Y, param_name=value),
    ]
    for call in calls:
        with nothing_else_changes():
            try:
                call()
            except (TypeError, ValueError, MemoryError, OSError) as error:
                assert_told(error)
            finally:
                plt.close("all")


# Numbers at the ends of their range

exponents = st.integers(-324, 308)
magnitudes = st.one_of(st.just(0.0), exponents.map(lambda e: float(f"1e{e}")))


def check_fit(scale, dtype, params):
    """A fit at this scale: an error that names a cause, or numbers that mean what they say."""
    with np.errstate(over="ignore"):
        values = (X * scale).astype(dtype)
    clf = quick(**params)
    try:
        clf.fit(values, Y)
    except ValueError as error:
        # Infinite data, or training that diverges.
        assert_told(error)
        assert not hasattr(clf, "U_")
        return
    report = clf.bound_report_(X_train=values, y_train=Y)
    for bound in report:
        assert bound.kind in KINDS
        assert bound.value >= 0
        assert all(term.value >= 0 for term in bound.terms)
        total = sum(term.value for term in bound.terms)
        assert total == pytest.approx(bound.value) or total == bound.value
    assert clf.fisher_rao_norm_() >= 0
    assert clf.fisher_rao_norm_(form="gradient") >= 0
    assert (clf.certified_radius_(values) >= 0).all()
    try:
        probabilities = clf.predict_proba(values)
    except ValueError as error:
        assert_told(error, "scores")
    else:
        np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)
        assert set(clf.predict(values)) <= {0, 1}
    assert str(report)
    assert len(report.to_frame()) == len(report)
    assert "tabular" in report.to_latex()


scales = st.tuples(
    magnitudes,
    st.sampled_from([np.float32, np.float64]),
    st.fixed_dictionaries(
        {},
        optional={
            "noise_std": st.sampled_from([1e-30, 0.1, 1e10, 1e160]),
            "beta_w": st.sampled_from([0.0, 1e-300, 0.9, 1e300, (0.5, 0.4)]),
            "input_bound": st.sampled_from([1e308, 1e30]),
            "unit_types": st.just(2),
            "activation": st.just("tanh"),
            "fisher_rao_max": st.sampled_from([1e-200, 1.0]),
            "gradient_clip_norm": st.just(1.0),
            "learning_rate": st.sampled_from([1e-30, 1e3]),
        },
    ),
)


@few
@given(scales)
def test_data_of_every_magnitude(case):
    check_fit(*case)


@pytest.mark.slow
@many
@given(scales)
def test_data_of_every_magnitude_many_times(case):
    check_fit(*case)


def test_squares_that_only_float64_holds():
    # Squares of 1e30 overflow in float32, and the sums over steps all the more.
    values = (X * 1e30).astype(np.float32)
    clf = quick(min_eigenvalue=0.0, learning_rate=1e-6).fit(X.astype(np.float32), Y)
    expected = clf.fisher_rao_norm_(X.astype(np.float32))
    assert clf.fisher_rao_norm_(values) == pytest.approx(1e30 * expected, rel=1e-6)
    assert min_eigenvalue(values) == pytest.approx(1e60 * min_eigenvalue(X), rel=1e-5)
    np.testing.assert_allclose(eigenvalues(values), 1e60 * eigenvalues(X), rtol=1e-4)


@some
@given(magnitudes, magnitudes, magnitudes, magnitudes, st.integers(1, 10**6))
def test_bounds_of_every_magnitude_are_never_undefined(u, w, v, x, n_steps):
    steps = min(n_steps, 500)
    betas = {"beta_u": u, "beta_w": w, "beta_v": v}
    found = [
        power_sum(w, np.ones(steps), u, v, x),
        remark6_radius(n_steps=steps, max_input=x, **betas),
        unrolled_complexity(n=10**12, n_steps=steps, n_features=3, largest=x, **betas),
        trivial_complexity(np.full(steps, x), n=7, **betas),
        *theorem1(n=10**12, n_steps=steps, frobenius=x, abs_sum=x, r=u, min_eigenvalue=v, **betas),
    ]
    norms = np.full((min(steps, 20), 2), x)
    with np.errstate(over="ignore", invalid="ignore"):
        complexity = theorem_p(norms, signed=False, **betas)
    found += [expected_max_abs(norms)[0], expected_max_positive(norms)[0], *complexity]
    assert all(value >= 0 for value in found)
    # No less at a larger radius, also across the edge of overflow.
    with np.errstate(over="ignore"):
        larger = power_sum(float(np.float64(w) * 1.5), np.ones(steps), u, v, x)
    assert larger >= found[0] * (1 - 1e-12)


def test_a_long_recurrence_overflows_to_infinity_and_not_before():
    # 2^1500 - 1 is no float, and neither is 2^-1400, but their product is.
    assert power_sum(2.0, np.ones(10**6)) == math.inf
    assert power_sum(2.0, np.ones(1500), 2.0**-700, 2.0**-700) == pytest.approx(2.0**100)
    assert power_sum(0.5, np.ones(10**6), 1e307) == pytest.approx(2e307)


@some
@given(st.integers(0, 40), st.integers(1, 40), st.integers(-300, -1), st.integers(-300, 3))
def test_inversions_stay_between_risk_and_one(n_errors, n, log_delta, log_budget):
    n_errors, delta, c = min(n_errors, n), 10.0**log_delta, 10.0**log_budget
    risk = n_errors / n
    assert risk <= kl_inverse(risk, c) <= 1
    assert risk <= occam_kl(risk, 10.0, n, delta) <= 1
    tail = binomial_tail_inverse(n_errors, n, delta)
    assert 0 < tail <= 1
    assert tail <= binomial_tail_inverse(n_errors, n, delta / 10) <= 1


@some
@given(exponents, st.integers(1, 16), st.integers(0, 2**31))
def test_rounding_of_weights_of_every_magnitude(exponent, bits, seed):
    weights = np.random.default_rng(seed).normal(size=(3, 4)) * float(f"1e{exponent}")
    weights = np.where(np.isfinite(weights), weights, 0.0)
    rounded, length = quantized(weights, bits)
    assert np.isfinite(length)
    assert length > 0
    largest = np.abs(weights).max()
    # A unit of the code is at most 2^(2 - bits) times the largest entry, or the last of the grid.
    assert (np.abs(rounded - weights) <= max(largest * 2.0 ** (1 - bits), 2.0**-64)).all()


@some
@given(exponents, magnitudes, st.sampled_from([torch.float32, torch.float64]))
def test_projection_at_every_magnitude(exponent, radius, dtype):
    rows = np.random.default_rng(0).normal(size=(3, 4)) * float(f"1e{exponent}")
    A = torch.tensor(rows).clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max).to(dtype)
    project_rows_(A, radius)
    assert A.isfinite().all()
    assert row_norm(A.numpy()) <= radius * (1 + 1e-15)


def test_every_bound_has_been_met():
    names = {bound.name for bound in FITTED.bound_report_(X_train=X, y_train=Y)}
    assert names == BOUNDS.keys() - {"localized", "holdout"}
