"""Valid and plausible wrong input to every public call: a right result, or an error in words."""

import inspect
import math
import re
from contextlib import contextmanager
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.sparse
import torch
from conftest import make_classifier
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

import sklearn_rnnbound
from sklearn_rnnbound import (
    BOUNDS,
    BoundSearch,
    bound_report,
    certify,
    cross_validate_bounds,
    datasets,
    load,
    make_bound_scorer,
    neg_bound_scorer,
    plotting,
    preprocessing,
)
from sklearn_rnnbound.datasets import WordVectors, make_gaussian_sequences
from sklearn_rnnbound.plotting import (
    BoundCurveDisplay,
    BoundDecompositionDisplay,
    MarginDistributionDisplay,
    SpectrumDisplay,
)
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder

few = settings(max_examples=15, derandomize=True, deadline=None)
some = settings(max_examples=60, derandomize=True, deadline=None)


@contextmanager
def nothing_else_changes():
    """The block touches no global state; warnings are errors anyway."""

    def state():
        draws = np.random.get_state(legacy=False)  # noqa: NPY002 - the legacy state is watched
        return str(draws), torch.get_rng_state().tolist(), torch.get_num_threads(), np.geterr()

    before = state()
    yield
    assert state() == before


@pytest.fixture(autouse=True)
def close_pictures():
    yield
    plt.close("all")


RNG = np.random.default_rng(0)
Y = np.arange(18) % 2
X = RNG.normal(size=(18, 3, 2)) + 2 * Y[:, None, None]
FLAT = X.reshape(18, 6)


def quick(**params):
    return make_classifier(**{"max_iter": 2, "hidden_size": 3, "batch_size": 6, **params})


cross_validated = partial(cross_validate_bounds, cv=2, methods="peeling", error_score="raise")
ENCODER = WordVectorEncoder({"word": [1.0, 2.0]})
FRESH = {
    "RNNBoundClassifier": quick(noise_std=0.1),
    "BoundSearch": BoundSearch(
        quick(beta_u=1.0, beta_v=1.0, min_eigenvalue=0.0), {"beta_w": [0.5]}, error_score="raise"
    ),
    "SequencePadder": SequencePadder(),
    "SequenceScaler": SequenceScaler(),
}
TRAINED = {name: clone(estimator).fit(X, Y) for name, estimator in FRESH.items()}
FITTED = TRAINED["RNNBoundClassifier"]
ONE_CANDIDATE = cross_validated(quick(), X, Y)
CROSS_VALIDATED = cross_validated(quick(), X, Y, param_grid={"beta_w": [0.5, 1.0]})


def check_report(report):
    """Numbers that may be infinite, made of terms that add up to them."""
    for bound in report:
        assert bound.kind in ("certified", "plug_in", "order_only")
        assert all(bound.value >= term.value >= 0 for term in bound.terms)
        total = sum(term.value for term in bound.terms)
        assert total == pytest.approx(bound.value) or total == bound.value
    assert str(report)


# The same numbers in other forms


@pytest.mark.parametrize(
    "form",
    [
        np.ndarray.tolist,
        lambda values: np.repeat(values, 2, axis=1)[:, ::2],
        lambda values: values.astype(">f8"),
        lambda values: torch.tensor(values, requires_grad=True),
    ],
    ids=["list", "strided", "big endian", "tensor"],
)
def test_the_same_numbers_give_the_same_bits(form):
    with nothing_else_changes():
        clf = clone(FITTED).fit(form(X), Y)
        report = clf.bound_report_(X_train=form(X), y_train=Y)
        radius = clf.certified_radius_(form(X))
        curve = FITTED.bound_curve_(form(X), Y, methods="peeling")
    assert report.bounds == FITTED.bound_report_(X_train=X, y_train=Y).bounds
    np.testing.assert_array_equal(radius, FITTED.certified_radius_(X))
    assert str(curve) == str(FITTED.bound_curve_(X, Y, methods="peeling"))
    for transformer in (SequenceScaler(), SequencePadder()):
        expected = clone(transformer).fit_transform(X)
        np.testing.assert_array_equal(transformer.fit_transform(form(X)), expected)


@few
@given(st.lists(st.text() | st.sampled_from(["word", "Word a WORD", "wordword word"])))
def test_documents_of_any_text(documents):
    encoded = clone(ENCODER).fit(documents).transform(documents)
    assert encoded.shape == (len(documents), 100, 2)
    for steps, document in zip(encoded, documents, strict=True):
        n_words = re.findall(ENCODER.token_pattern, document.lower()).count("word")
        assert steps.sum(0).tolist() == [n_words, 2 * n_words]


# Wrong data and labels

NO_DATA = {
    "nothing": None,
    "text": "text",
    "one dimension": X[:, 0, 0],
    "four dimensions": X[None],
    "no sample": X[:0],
    "nan": np.where(X[3, 0, 0] == X, np.nan, X),
    "inf": np.where(X[3, 0, 0] == X, np.inf, X),
    "complex": X + 1j,
    "words": np.full(X.shape, "word"),
    "dates": np.full(X.shape, "2020-01-01", dtype="M8[D]"),
    "ragged": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]] * 9,
    "sparse": scipy.sparse.csr_array(FLAT),
}
NO_LABELS = {
    "fractions": Y + 0.5,
    "nan": np.where(Y, np.nan, 1.0),
    "nothing": None,
    "mixed": np.array([1, "a"] * 9, dtype=object),
    "two columns": np.stack([Y, 1 - Y], axis=1),
    "too few": Y[:7],
}
METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]
METHODS += ["certified_radius_", "transform", "inverse_transform"]
OF_X = {
    **{
        f"{name}.{method}": getattr(estimator, method)
        for name, estimator in TRAINED.items()
        for method in METHODS
        if hasattr(estimator, method)
    },
    "RNNBoundClassifier.fisher_rao_norm_": FITTED.fisher_rao_norm_,
    "SpectrumDisplay.from_data": SpectrumDisplay.from_data,
    "SequencePadder.fit": FRESH["SequencePadder"].fit,
    "SequenceScaler.fit": FRESH["SequenceScaler"].fit,
}
OF_X_AND_Y = {
    **{f"{name}.fit": FRESH[name].fit for name in ("RNNBoundClassifier", "BoundSearch")},
    **{f"{name}.score": TRAINED[name].score for name in ("RNNBoundClassifier", "BoundSearch")},
    "RNNBoundClassifier.fisher_rao_norm_ y": partial(FITTED.fisher_rao_norm_, form="gradient"),
    "RNNBoundClassifier.bound_report_": FITTED.bound_report_,
    "RNNBoundClassifier.bound_curve_": FITTED.bound_curve_,
    "bound_report": partial(bound_report, FITTED),
    "cross_validate_bounds": partial(cross_validated, quick()),
    **{
        f"{display.__name__}.from_estimator": partial(display.from_estimator, FITTED)
        for display in (BoundCurveDisplay, BoundDecompositionDisplay, MarginDistributionDisplay)
    },
}
# A padder takes series of any lengths, and this norm has the data of fit for none.
TAKEN = {
    "SequencePadder.fit": {"ragged"},
    "SequencePadder.transform": {"ragged"},
    "RNNBoundClassifier.fisher_rao_norm_": {"nothing"},
}


def check_refused(call, *args):
    """The call raises an error in words, before it changes an estimator."""
    owner = getattr(call, "__self__", None)
    before = dict(vars(owner)) if isinstance(owner, BaseEstimator) else None
    with nothing_else_changes(), pytest.raises((TypeError, ValueError), match=r"\w"):
        call(*args)
    assert before is None or vars(owner) == before


@pytest.mark.parametrize("name", [*OF_X, *OF_X_AND_Y])
def test_wrong_data_are_refused(name):
    for kind in NO_DATA.keys() - TAKEN.get(name, set()):
        args = (NO_DATA[kind],) if name in OF_X else (NO_DATA[kind], Y)
        check_refused({**OF_X, **OF_X_AND_Y}[name], *args)


# By scikit-learn, which looks whether labels are whole numbers before it looks for NaN.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("name", OF_X_AND_Y)
def test_wrong_labels_are_refused(name):
    for labels in NO_LABELS.values():
        check_refused(OF_X_AND_Y[name], X, labels)


UNFITTED = quick()


@pytest.mark.parametrize(
    "call",
    [
        partial(bound_report, UNFITTED),
        partial(certify, UNFITTED),
        partial(neg_bound_scorer, UNFITTED),
        partial(BoundCurveDisplay.from_estimator, UNFITTED, X, Y),
        partial(BoundDecompositionDisplay.from_estimator, UNFITTED),
        partial(MarginDistributionDisplay.from_estimator, UNFITTED),
        partial(clone(ENCODER).transform, ["word"]),
        partial(FRESH["SequenceScaler"].inverse_transform, X),
    ],
)
def test_what_is_not_fitted_says_so(call):
    with nothing_else_changes(), pytest.raises(NotFittedError):
        call()


# Parameters and options

WRONG = ["text", math.nan, math.inf, -1, (1, 2, 3), LogisticRegression()]
WRONG_FOR_SOME = [None, 0, [1.0], {}, len, True, np.float32(0.5), np.int64(3)]


@pytest.mark.parametrize("name", sorted(quick().get_params()))
def test_parameters_of_every_kind(name, tmp_path, monkeypatch):
    # Some are names of folders.
    monkeypatch.chdir(tmp_path)
    for value in (*WRONG, *WRONG_FOR_SOME):
        if (name, value is None) == ("random_state", True):
            # By scikit-learn's convention it draws from NumPy's own generator.
            continue
        clf = quick(**{name: value})
        with nothing_else_changes():
            try:
                clf.fit(X, Y)
            except (TypeError, ValueError, UserWarning) as error:
                assert name in str(error)  # noqa: PT017 - either outcome is right
                assert not hasattr(clf, "U_")
                continue
        check_report(clf.bound_report_())


# A call, and names of its options.
OPTIONS = {
    "RNNBoundClassifier.generalization_bound_": (
        FITTED.generalization_bound_,
        "method margin delta",
    ),
    "RNNBoundClassifier.bound_report_": (FITTED.bound_report_, "methods margin delta"),
    "RNNBoundClassifier.bound_curve_": (
        partial(FITTED.bound_curve_, X, Y),
        "methods fractions margin delta",
    ),
    "RNNBoundClassifier.fisher_rao_norm_": (FITTED.fisher_rao_norm_, "form"),
    "bound_report": (
        partial(bound_report, estimator=FITTED),
        "estimator methods margin delta n_candidates",
    ),
    "cross_validate_bounds": (
        partial(cross_validated, estimator=quick(), X=X, y=Y),
        "estimator methods param_grid margin delta",
    ),
    "CrossValidatedBoundReport.rank_correlation": (CROSS_VALIDATED.rank_correlation, "confidence"),
    "make_bound_scorer": (
        lambda **options: make_bound_scorer(**options)(FITTED),
        "method margin delta",
    ),
    "neg_bound_scorer": (neg_bound_scorer, "estimator"),
    "certify": (partial(certify, search=TRAINED["BoundSearch"]), "search method delta"),
    "BoundSearch.fit": (
        lambda **options: clone(FRESH["BoundSearch"]).set_params(**options).fit(X, Y),
        "estimator param_grid method delta",
    ),
    "make_gaussian_sequences": (make_gaussian_sequences, "n_samples n_steps correlation flip_y"),
    "SequencePadder.fit": (lambda **options: SequencePadder(**options).fit(X), "length keep"),
    "SequenceScaler.fit": (
        lambda **options: SequenceScaler(**options).fit(FLAT),
        "step_size with_std",
    ),
    "WordVectorEncoder.fit": (
        lambda **options: clone(ENCODER).set_params(**options).fit(["a word"]),
        "unknown keep max_words clip",
    ),
    "WordVectorEncoder.transform": (clone(ENCODER).fit([]).transform, "documents"),
    "WordVectors": (partial(WordVectors, ["word"]), "vectors"),
    "BoundCurveDisplay.from_cross_validation": (
        partial(BoundCurveDisplay.from_cross_validation, report=CROSS_VALIDATED),
        "report param methods term",
    ),
    "BoundCurveDisplay.from_reports": (
        partial(BoundCurveDisplay.from_reports, {1: ONE_CANDIDATE}, xlabel="n"),
        "methods term",
    ),
    "BoundCurveDisplay.from_curve": (BoundCurveDisplay.from_curve, "curve"),
    "BoundDecompositionDisplay.from_report": (BoundDecompositionDisplay.from_report, "report"),
    "SpectrumDisplay.from_data": (partial(SpectrumDisplay.from_data, FLAT), "step_size noise_std"),
    **{
        call.__name__: (call, "path")
        for call in (load, datasets.load_imdb, datasets.load_ts, datasets.load_word_vectors)
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_wrong_options_are_refused(name):
    if name == "load_ts":
        pytest.importorskip("aeon", reason="the extra series is not installed")
    call, options = OPTIONS[name]
    for option in options.split():
        for value in WRONG:
            with nothing_else_changes(), pytest.raises((TypeError, ValueError, OSError)) as caught:
                call(**{option: value})
            assert str(caught.value), (option, value)


def public_calls():
    """Functions and methods of the public face, but for what is inherited from scikit-learn."""
    for module in (sklearn_rnnbound, datasets, plotting, preprocessing):
        for name in module.__all__:
            thing = getattr(module, name)
            methods = inspect.getmembers(thing, inspect.isroutine) if inspect.isclass(thing) else []
            ours = [
                f"{name}.{method}"
                for method, function in methods
                if str(getattr(function, "__module__", "")).startswith("sklearn_rnnbound")
                if not method.startswith("_")
            ]
            yield from ours or [name]


# What takes no data and no options, or texts that may be any, or hands on what others have checked;
# what cannot be saved is in the tests of files.
NOT_ASKED = {
    *("BOUNDS", "Term", "load_digit_sequences", "save"),
    *(f"Bound.{method}" for method in ("as_estimate", "explained", "term")),
    *(f"BoundReport.{method}" for method in ("test_error_of", "to_frame", "to_latex")),
    *(f"BoundCurve.{method}" for method in ("to_frame", "to_latex")),
    *(f"CrossValidatedBoundReport.{method}" for method in ("summary", "to_frame", "to_latex")),
    *(f"{display}.plot" for display in plotting.__all__),
}


def test_every_public_call_is_asked():
    asked = {name.partition(" ")[0] for name in (*OF_X, *OF_X_AND_Y, *OPTIONS)}
    assert set(public_calls()) - asked == NOT_ASKED


# Numbers at the ends of their range

magnitudes = st.sampled_from([0.0, 1.0]) | st.integers(-324, 308).map(lambda e: float(f"1e{e}"))
valid_params = st.fixed_dictionaries(
    {},
    optional={
        "noise_std": st.sampled_from([1e-30, 0.1, 1e10, 1e160]),
        "noise": st.sampled_from(["uniform", "laplace"]),
        "early_stopping": st.booleans(),
        "beta_w": st.sampled_from([0.0, 1e-300, 0.9, 1e300, (0.5, 0.4)]),
        "input_bound": st.sampled_from([1e308, 1e30]),
        "unit_types": st.just(2),
        "activation": st.just("tanh"),
        "fisher_rao_max": st.sampled_from([1e-200, 1.0]),
        "learning_rate": st.sampled_from([1e-30, 1e3]),
    },
)


# By scikit-learn, which adds infinities of both signs.
@pytest.mark.filterwarnings("ignore:invalid value encountered in reduce")
@some
@given(
    magnitudes,
    st.sampled_from([np.float32, np.float64]),
    valid_params,
    st.floats(1e-300, 1e300),
    st.floats(1e-300, 0.9),
)
def test_valid_parameters_and_data_of_every_magnitude(scale, dtype, params, margin, delta):
    with np.errstate(over="ignore"):
        values = (X * scale).astype(dtype)
    clf = quick(**params)
    try:
        clf.fit(values, Y)
    except ValueError as error:
        # Infinite data, or training that diverges.
        assert str(error)  # noqa: PT017 - either outcome is right
        assert not hasattr(clf, "U_")
        return
    for options in ({}, {"margin": margin, "delta": delta}):
        check_report(clf.bound_report_(X_train=values, y_train=Y, **options))
    assert clf.fisher_rao_norm_() >= 0
    assert clf.fisher_rao_norm_(form="gradient") >= 0
    assert (clf.certified_radius_(values) >= 0).all()
    try:
        probabilities = clf.predict_proba(values)
    except ValueError as error:
        assert "scores" in str(error)  # noqa: PT017 - either outcome is right
    else:
        np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-5)


@few
@given(st.integers(-300, 37), st.sampled_from([np.float32, np.float64]))
def test_scaled_numbers_of_every_magnitude(exponent, dtype):
    scaled = SequenceScaler().fit_transform((X * 10.0**exponent).astype(dtype))
    # No standardised number is larger than the root of how many there are.
    assert np.abs(scaled).max() <= math.sqrt(X[..., 0].size)


def test_every_bound_has_been_met():
    names = {bound.name for bound in FITTED.bound_report_(X_train=X, y_train=Y)}
    assert names == BOUNDS.keys() - {"localized", "holdout"}
