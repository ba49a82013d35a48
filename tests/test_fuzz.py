"""Anything at all as input: a right answer, or an error that says what is wrong."""

import inspect
import math
import re
from collections.abc import Hashable
from contextlib import contextmanager
from functools import cache, partial

import matplotlib as mpl
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
    Bound,
    BoundCurve,
    BoundReport,
    BoundSearch,
    CrossValidatedBoundReport,
    RNNBoundClassifier,
    StackedGridSearchCV,
    certify,
    cross_validate_bounds,
    datasets,
    load,
    make_bound_scorer,
    neg_bound_scorer,
    plotting,
    preprocessing,
    save,
)
from sklearn_rnnbound.bounds._numeric import kl_inverse, power_sum
from sklearn_rnnbound.bounds.comparison import trivial_complexity, unrolled_complexity
from sklearn_rnnbound.bounds.holdout import binomial_tail_inverse
from sklearn_rnnbound.bounds.occam import occam_kl, quantized
from sklearn_rnnbound.bounds.paper import remark6_radius, theorem1
from sklearn_rnnbound.bounds.peeling import expected_max_abs, expected_max_positive, theorem_p
from sklearn_rnnbound.constraints import project_rows_, row_norm
from sklearn_rnnbound.datasets import (
    WordVectors,
    load_imdb,
    load_ts,
    load_word_vectors,
    make_gaussian_sequences,
)
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
            str(np.random.get_state(legacy=False)),  # noqa: NPY002 - the legacy state is watched
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            np.geterr(),
            mpl.rcParams.copy(),
        )

    before = state()
    yield
    assert state() == before


@pytest.fixture(autouse=True)
def close_pictures():
    yield
    plt.close("all")


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


def constrained(**params):
    """Its certificate is finite."""
    return quick(beta_u=1.0, beta_v=1.0, min_eigenvalue=0.0, **params)


cross_validated = partial(cross_validate_bounds, cv=2, methods="peeling", error_score="raise")
GRID = {"beta_w": [0.5]}
FRESH = {
    "RNNBoundClassifier": quick(noise_std=0.1),
    "BoundSearch": BoundSearch(constrained(), GRID, error_score="raise"),
    "StackedGridSearchCV": StackedGridSearchCV(quick(), GRID, cv=2, error_score="raise"),
    "SequencePadder": SequencePadder(),
    "SequenceScaler": SequenceScaler(),
    "WordVectorEncoder": WordVectorEncoder({"word": [1.0, 2.0]}),
}
TRAINED = {
    name: clone(estimator).fit(["a word"] if name == "WordVectorEncoder" else X, Y)
    for name, estimator in FRESH.items()
}
FITTED = TRAINED["RNNBoundClassifier"]
SUPERVISED = WordVectorEncoder(supervised="log_odds")
CROSS_VALIDATED = cross_validated(quick(), X, Y, param_grid={"beta_w": [0.5, 1.0]})


curve_over_grid = partial(
    BoundCurveDisplay.from_estimator, param_name="beta_w", param_range=[0.5], cv=2
)


def check_bound(bound):
    """A number that may be infinite, made of terms that add up to it."""
    assert bound.kind in KINDS
    assert all(bound.value >= term.value >= 0 for term in bound.terms)
    total = sum(term.value for term in bound.terms)
    assert total == pytest.approx(bound.value) or total == bound.value


def stated(result):
    """The numbers that a result states, after a look at whether they can be right."""
    match result:
        case Bound():
            check_bound(result)
            return [result.value, *(term.value for term in result.terms)]
        case BoundReport():
            parts = result.bounds
        case BoundCurve():
            parts = result.reports
        case CrossValidatedBoundReport():
            parts = [fold.report for fold in result.folds]
        case BoundCurveDisplay():
            parts = [report for row in result.reports for report in row]
        case _:
            numbers = np.asarray(result, dtype=float)
            assert not np.isnan(numbers).any()
            return numbers
    return [number for part in parts for number in stated(part)]


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
    # scikit-learn reads numbers from text.
    "text": lambda v, _: v.astype(str),
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


@cache
def all_numbers(form, flat, tmp_path=None):
    """What comes of data in this form, by everything that takes them; None: as they are."""
    values = FLAT if flat else X
    if form is not None:
        values = FORMS[form](values, tmp_path)
    steps = {"step_size": 2 if flat else 1}
    clf = quick(noise_std=0.1, **steps).fit(values, Y)
    return [
        clf.W_,
        clf.decision_function(values),
        clf.fisher_rao_norm_(values),
        clf.certified_radius_(values),
        stated(clf.bound_report_(X_train=values, y_train=Y)),
        stated(clf.bound_curve_(values, Y, methods="peeling")),
        stated(cross_validated(quick(**steps), values, Y)),
        stated(BoundSearch(constrained(**steps), GRID).fit(values, Y).best_bound_),
        StackedGridSearchCV(quick(**steps), GRID, cv=2).fit(values, Y).predict_proba(values),
        SequenceScaler(**steps).fit_transform(values),
        SequencePadder().fit_transform(values),
        SpectrumDisplay.from_data(values, **steps).eigenvalues,
        MarginDistributionDisplay.from_estimator(clf, values, Y).margins,
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("flat", [False, True])
def test_the_same_numbers_give_the_same_bits(form, flat, tmp_path):
    with nothing_else_changes():
        found = all_numbers(form, flat, tmp_path)
    for numbers, expected in zip(found, all_numbers(None, flat), strict=True):
        np.testing.assert_array_equal(numbers, expected)


def test_documents_in_any_sequence_give_the_same_bits():
    documents = ["a word", "", "word word"]
    expected = TRAINED["WordVectorEncoder"].transform(documents)
    array = np.array(documents)
    for given_as in (tuple(documents), array, array.astype(object), array[::-1].copy()[::-1]):
        found = TRAINED["WordVectorEncoder"].transform(given_as)
        np.testing.assert_array_equal(found, expected)


@some
@given(st.lists(st.text() | st.sampled_from(["word", "Word a WORD", "wordword\0word"])))
def test_documents_of_any_text(documents):
    encoder = TRAINED["WordVectorEncoder"]
    encoded = encoder.transform(documents)
    assert encoded.shape == (len(documents), 100, 2)
    for steps, document in zip(encoded, documents, strict=True):
        words = re.findall(encoder.token_pattern, document.lower())
        assert steps.sum(0).tolist() == [words.count("word"), 2 * words.count("word")]


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


# What is no data, and what are labels or none

ITSELF: list = []
ITSELF.append(ITSELF)
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
    "words": np.full(X.shape, "word"),
    "bytes": np.full(X.shape, b"word"),
    "objects": np.full(X.shape, object()),
    "nothing in objects": np.full(X.shape, None),
    "dates": np.full(X.shape, "2020-01-01", dtype="M8[D]"),
    "durations": np.full(X.shape, 3, dtype="m8[s]"),
    "records": np.zeros(X.shape, dtype=[("a", float)]),
    "masked": np.ma.MaskedArray(X, mask=X > 1),
    "masked rows": [list(rows) for rows in np.ma.MaskedArray(X, mask=X > 1)],
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
    "itself": ITSELF,
}
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
    "itself": ITSELF,
}

# Every row of what these return is about a row of the data.
BY_ROWS = {
    f"{name}.{method}": getattr(estimator, method)
    for name, estimator in TRAINED.items()
    for method in (
        *("predict", "predict_proba", "predict_log_proba", "decision_function"),
        *("certified_radius_", "transform", "inverse_transform"),
    )
    if hasattr(estimator, method)
}
OF_X = BY_ROWS | {
    "RNNBoundClassifier.fisher_rao_norm_": FITTED.fisher_rao_norm_,
    "SpectrumDisplay.from_data": SpectrumDisplay.from_data,
    "WordVectors": partial(WordVectors, ["word"]),
}
OF_X_AND_Y = {
    **{f"{name}.fit": estimator.fit for name, estimator in FRESH.items()},
    **{f"{name}.score": TRAINED[name].score for name in ("RNNBoundClassifier", "BoundSearch")},
    "RNNBoundClassifier.fisher_rao_norm_ y": partial(FITTED.fisher_rao_norm_, form="gradient"),
    "RNNBoundClassifier.bound_report_": FITTED.bound_report_,
    "RNNBoundClassifier.bound_report_ train": lambda X, y: FITTED.bound_report_(
        X_train=X, y_train=y
    ),
    "RNNBoundClassifier.bound_curve_": FITTED.bound_curve_,
    "cross_validate_bounds": partial(cross_validated, quick()),
    **{
        f"{display.__name__}.from_estimator": partial(display.from_estimator, FITTED)
        for display in (BoundCurveDisplay, BoundDecompositionDisplay, MarginDistributionDisplay)
    },
    "BoundCurveDisplay.from_estimator grid": partial(curve_over_grid, quick()),
}
# What they take of it all the same: a few rows, series to be padded, new labels, which count as
# errors. Those that divide the data leave some to torch and NumPy, which have words of their own.
FEW, RAGGED = {"one sample", "too few rows"}, {"ragged", "ragged objects"}
ONE_CLASS = {"labels: one class"}
NEW = {*ONE_CLASS, "labels: inf", "labels: huge integers"}
ANY_LABELS = {f"labels: {name}" for name in NO_LABELS}
TAKEN = {
    **dict.fromkeys(BY_ROWS, FEW),
    "SequencePadder.transform": FEW | RAGGED,
    "WordVectorEncoder.transform": set(),
    # This norm has the data of fit for none.
    "RNNBoundClassifier.fisher_rao_norm_": {*FEW, "nothing"},
    "SpectrumDisplay.from_data": FEW,
    "SequencePadder.fit": FEW | RAGGED | ANY_LABELS,
    "SequenceScaler.fit": FEW | ANY_LABELS,
    "WordVectorEncoder.fit": ANY_LABELS,
    "RNNBoundClassifier.score": ONE_CLASS,
    "RNNBoundClassifier.fisher_rao_norm_ y": ONE_CLASS,
    "BoundSearch.score": ONE_CLASS,
    "MarginDistributionDisplay.from_estimator": ONE_CLASS,
    "RNNBoundClassifier.bound_report_": NEW,
    "BoundDecompositionDisplay.from_estimator": NEW,
}
NAMES_OF_X = r"\b(X(_\w+)?|documents?|words|vectors)\b"
NAMES_OF_Y = r"\b(y(_\w+)?|labels?)\b"
REFUSED = {
    **{(call, name): (values,) for call in OF_X for name, values in NO_DATA.items()},
    **{(call, name): (values, Y) for call in OF_X_AND_Y for name, values in NO_DATA.items()},
    **{
        (call, f"labels: {name}"): (X, labels)
        for call in OF_X_AND_Y
        for name, labels in NO_LABELS.items()
    },
    **{("WordVectorEncoder.fit y", name): (["a"] * 18, y) for name, y in NO_LABELS.items()},
}


def worked(*args, **kwargs):
    pytest.fail("it came to work")


@pytest.mark.parametrize(
    ("name", "value"), [key for key in REFUSED if key[1] not in TAKEN.get(key[0], ())]
)
def test_what_is_no_data_is_an_error_before_any_work(name, value, monkeypatch):
    for name_of_train in ("classifier.train", "stacked_search.train"):
        monkeypatch.setattr(f"sklearn_rnnbound.{name_of_train}", worked)
    call = {**OF_X, **OF_X_AND_Y, "WordVectorEncoder.fit y": SUPERVISED.fit}[name]
    of = getattr(call, "__self__", None)
    before = dict(vars(of)) if isinstance(of, BaseEstimator) else None
    of_y = "labels: " in value or name == "WordVectorEncoder.fit y"
    names = NAMES_OF_Y if of_y else NAMES_OF_X
    with nothing_else_changes(), pytest.raises((TypeError, ValueError), match=names):
        call(*REFUSED[name, value])
    assert before is None or vars(of) == before


@pytest.mark.parametrize("name", [name for name in BY_ROWS if TAKEN[name] >= FEW])
@pytest.mark.parametrize("n", [1, 7])
def test_few_rows_are_told_what_many_are_told(name, n):
    found, expected = BY_ROWS[name](X[:n]), BY_ROWS[name](X)[:n]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_series_are_padded_whatever_holds_them():
    padder = TRAINED["SequencePadder"]
    for name in RAGGED:
        padded = padder.transform(NO_DATA[name])
        for sequence, series in zip(padded, NO_DATA[name], strict=True):
            np.testing.assert_array_equal(sequence[3 - len(series) :], series)
            assert not sequence[: 3 - len(series)].any()


def test_scores_of_a_bound_ignore_the_data():
    for values in NO_DATA.values():
        assert neg_bound_scorer(FITTED, values, values) == neg_bound_scorer(FITTED)


# What of theirs needs a fit, and what needs a fitted classifier.
NEED_A_FIT = [
    name
    for name in (*OF_X, *OF_X_AND_Y)
    if name.partition(".")[0] in FRESH and not name.endswith(".fit")
]
OF_FITTED = {
    "RNNBoundClassifier.generalization_bound_": RNNBoundClassifier.generalization_bound_,
    "certify": certify,
    "neg_bound_scorer": neg_bound_scorer,
    "BoundDecompositionDisplay.from_estimator": BoundDecompositionDisplay.from_estimator,
    "MarginDistributionDisplay.from_estimator": MarginDistributionDisplay.from_estimator,
    "BoundCurveDisplay.from_estimator": partial(BoundCurveDisplay.from_estimator, X=X, y=Y),
}


@pytest.mark.parametrize("name", NEED_A_FIT)
def test_what_is_not_fitted_says_so(name):
    owner, method = name.partition(" ")[0].split(".")
    data = (X, Y) if name in OF_X_AND_Y else (["word"] if owner == "WordVectorEncoder" else X,)
    with nothing_else_changes(), pytest.raises(NotFittedError):
        getattr(FRESH[owner], method)(*data)


@pytest.mark.parametrize("name", OF_FITTED)
def test_what_is_to_be_told_of_an_unfitted_classifier_says_so(name):
    with nothing_else_changes(), pytest.raises(NotFittedError):
        OF_FITTED[name](FRESH["RNNBoundClassifier"])


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
    *(None, "text", b"bytes", "", "a\0b", math.nan, math.inf, -1, -1.5, 0, 10**400, 1j, (), (1,)),
    *((1, 2, 3), ("a", "b"), [1.0], [], {}, object(), len, np.ones(2), np.array(1.0), True),
    *(np.float16(0.5), np.int8(3), np.longdouble("1e4000"), 2**31, math.ulp(0.0)),
    *(RNNBoundClassifier, LogisticRegression()),
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
        assert stated(clf.bound_report_())


FRACTIONS = (np.float16(0.5), math.ulp(0.0))
POSITIVE = (*FRACTIONS, np.int8(3), 2**31)
COUNT = (np.int8(3),)
MARGIN_AND_DELTA = {"margin": (None, *POSITIVE), "delta": (None, *FRACTIONS)}
# A call, and of its options those of WRONG that are right.
OPTIONS = {
    "RNNBoundClassifier.generalization_bound_": (
        FITTED.generalization_bound_,
        {"method": [], **MARGIN_AND_DELTA},
    ),
    "RNNBoundClassifier.bound_report_": (
        FITTED.bound_report_,
        {"methods": [], "simultaneous": [True], **MARGIN_AND_DELTA},
    ),
    "RNNBoundClassifier.bound_curve_": (
        partial(FITTED.bound_curve_, X, Y, methods="peeling"),
        {"methods": [], "fractions": [(1,), [1.0], np.ones(2)], **MARGIN_AND_DELTA},
    ),
    "RNNBoundClassifier.fisher_rao_norm_": (FITTED.fisher_rao_norm_, {"form": []}),
    "cross_validate_bounds": (
        partial(cross_validated, estimator=quick(), X=X, y=Y),
        {
            "estimator": [],
            "methods": [],
            "param_grid": [None, {}],
            "simultaneous": [True],
            **MARGIN_AND_DELTA,
        },
    ),
    "CrossValidatedBoundReport.rank_correlation": (
        lambda **options: CROSS_VALIDATED.rank_correlation(**options).notna(),
        {"confidence": FRACTIONS},
    ),
    "make_bound_scorer": (
        lambda **options: make_bound_scorer(**options)(FITTED),
        {"method": [], **MARGIN_AND_DELTA},
    ),
    "neg_bound_scorer": (neg_bound_scorer, {"estimator": []}),
    "certify": (
        partial(certify, search=TRAINED["BoundSearch"]),
        {"search": [], "method": [], "delta": [None, *FRACTIONS]},
    ),
    "BoundSearch.fit": (
        lambda **options: clone(FRESH["BoundSearch"]).set_params(**options).fit(X, Y).best_bound_,
        {
            "estimator": [],
            "param_grid": [{}],
            "method": [],
            "delta": [None, *FRACTIONS],
            "refit": [True],
        },
    ),
    "StackedGridSearchCV.fit": (
        lambda **options: (
            clone(FRESH["StackedGridSearchCV"])
            .set_params(**options)
            .fit(X, Y)
            .cv_results_["mean_test_score"]
        ),
        {"estimator": [], "param_grid": [{}], "return_train_score": [True]},
    ),
    "make_gaussian_sequences": (
        lambda **options: make_gaussian_sequences(random_state=0, **options).data,
        {
            **dict.fromkeys(["n_samples", "n_steps", "n_features"], COUNT),
            **dict.fromkeys(["correlation", "flip_y"], (0, *FRACTIONS)),
        },
    ),
    "SequencePadder.fit": (
        lambda **options: SequencePadder(**options).fit_transform(X),
        {"length": [None, *COUNT], "keep": []},
    ),
    "SequenceScaler.fit": (
        lambda **options: SequenceScaler(**options).fit_transform(FLAT),
        {"step_size": COUNT, "with_mean": [True], "with_std": [True]},
    ),
    "WordVectorEncoder.fit": (
        lambda **options: (
            clone(FRESH["WordVectorEncoder"])
            .set_params(**options)
            .fit_transform(["a word", "word"])
        ),
        {
            "vectors": [],
            "supervised": [None],
            "unknown": [],
            "keep": [],
            **dict.fromkeys(["max_words", "n_segments"], (None, *COUNT)),
            "clip": [None, *POSITIVE],
        },
    ),
    "WordVectorEncoder.fit supervised": (
        lambda **options: (
            clone(SUPERVISED).set_params(**options).fit_transform(["a word", "word"], [0, 1])
        ),
        {"supervised": [], "smoothing": POSITIVE, "C": POSITIVE},
    ),
    "WordVectors": (partial(WordVectors, ["word"]), {"vectors": []}),
    "BoundDecompositionDisplay.from_estimator": (
        BoundDecompositionDisplay.from_estimator,
        {"estimator": []},
    ),
    "MarginDistributionDisplay.from_estimator": (
        lambda estimator=FITTED, **options: (
            MarginDistributionDisplay.from_estimator(estimator, **options).alpha
        ),
        {"estimator": [], "method": [], "margin": MARGIN_AND_DELTA["margin"]},
    ),
    "BoundCurveDisplay.from_estimator": (
        partial(BoundCurveDisplay.from_estimator, X=X, y=Y),
        {"estimator": []},
    ),
    "BoundCurveDisplay.from_cross_validation": (
        partial(BoundCurveDisplay.from_cross_validation, report=CROSS_VALIDATED),
        {"report": [], "param": [None], "methods": [None], "term": [None]},
    ),
    "BoundCurveDisplay.from_reports": (
        partial(BoundCurveDisplay.from_reports, xlabel="n"),
        {"reports": []},
    ),
    "BoundCurveDisplay.from_reports of one": (
        lambda report: BoundCurveDisplay.from_reports({1: report}, xlabel="n"),
        {"report": []},
    ),
    "BoundCurveDisplay.from_curve": (BoundCurveDisplay.from_curve, {"curve": []}),
    "BoundDecompositionDisplay.from_report": (
        BoundDecompositionDisplay.from_report,
        {"report": []},
    ),
    "BoundCurveDisplay.from_estimator grid": (
        partial(curve_over_grid, estimator=quick(), X=X, y=Y),
        {"estimator": [], "param_name": []},
    ),
    "SpectrumDisplay.from_data": (
        lambda **options: SpectrumDisplay.from_data(FLAT, **options).eigenvalues,
        {"step_size": COUNT, "noise_std": [0, *POSITIVE]},
    ),
    **{
        call.__name__: (call, {"path": []})
        for call in (load, load_imdb, load_ts, load_word_vectors)
    },
    "save": (
        lambda estimator=FITTED, path="file": save(estimator, path) or 0.0,
        {"estimator": [LogisticRegression()], "path": ["text"]},
    ),
}
# Errors name the option, or say in other words, some of them scikit-learn's, what it is.
NAMED = {
    "estimator": "estimator|RNNBoundClassifier",
    "methods": "method|no bound to draw",
    "param_grid": "param_grid|Parameter grid|candidates",
    "param_name": "param_name|parameter",
    "path": "(?i)path|file|folder|directory",
    "reports": "reports|no bound to draw",
    "search": "RNNBoundClassifier",
    "vectors": "vectors|path|file",
}


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, option) for name, (_, options) in OPTIONS.items() for option in options],
)
def test_options_of_every_kind(name, option, tmp_path, monkeypatch):
    # Some are names of files.
    monkeypatch.chdir(tmp_path)
    call, options = OPTIONS[name]
    for value in WRONG:
        with nothing_else_changes():
            # By their texts, since comparisons of arrays have no truth.
            if repr(value) in map(repr, options[option]):
                same = value.item() if isinstance(value, np.generic) else value
                found, again = (stated(call(**{option: v})) for v in (value, same))
                np.testing.assert_array_equal(found, again)
                continue
            with pytest.raises((TypeError, ValueError, OSError)) as caught:
                call(**{option: value})
        assert re.search(NAMED.get(option, option), str(caught.value)), repr(value)


def test_what_a_report_lacks():
    report = FITTED.bound_report_()
    for value in WRONG:
        if not isinstance(value, np.ndarray):
            assert value not in report
            with pytest.raises(KeyError):
                report[value]
            with pytest.raises(KeyError):
                report.test_error_of(value)
        if isinstance(value, Hashable):
            with pytest.raises(KeyError):
                report["peeling"].term(value)


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


# What takes no data and no options, or texts that may be any, or hands on what others have checked.
NOT_ASKED = {
    *("BOUNDS", "Term", "load_digit_sequences"),
    *(f"Bound.{method}" for method in ("as_estimate", "explained", "term")),
    *(f"BoundReport.{method}" for method in ("plot", "test_error_of", "to_frame", "to_latex")),
    *(f"BoundCurve.{method}" for method in ("plot", "to_frame")),
    *(
        f"CrossValidatedBoundReport.{method}"
        for method in ("plot", "summary", "to_frame", "to_latex")
    ),
    *(f"{display}.plot" for display in plotting.__all__),
}


def test_every_public_call_is_asked():
    asked = {name.partition(" ")[0] for name in (*OF_X, *OF_X_AND_Y, *OPTIONS, *OF_FITTED)}
    assert set(public_calls()) - asked == NOT_ASKED


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
        check_bound(bound)
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


@some
@given(st.floats(1e-300, 1e300), st.floats(1e-300, 0.9))
def test_bounds_at_every_margin_and_delta(margin, delta):
    report = FITTED.bound_report_(margin=margin, delta=delta)
    safer = FITTED.bound_report_(margin=margin, delta=delta / 2)
    together = FITTED.bound_report_(margin=margin, delta=delta, simultaneous=True)
    wider = FITTED.bound_report_(margin=2 * margin, delta=delta)
    for bound in report:
        check_bound(bound)
        assert bound.margin in (None, margin)
        assert bound.delta in (None, delta)
        assert bound.value <= min(safer[bound.name].value, together[bound.name].value)
        # A larger margin has more errors, and less to pay for.
        for term, other in zip(bound.terms, wider[bound.name].terms, strict=True):
            in_order = sorted((term.value, other.value), reverse=term.name != "empirical_risk")
            assert [term.value, other.value] == in_order


@few
@given(magnitudes, st.sampled_from([np.float32, np.float64]))
def test_transformers_and_spectra_at_every_magnitude(scale, dtype):
    with np.errstate(over="ignore"):
        values = (X * scale).astype(dtype)
    calls = [SequencePadder().fit_transform, SequenceScaler().fit_transform]
    if not np.isfinite(values).all():
        for call in (*calls, SpectrumDisplay.from_data):
            with pytest.raises(ValueError, match="X contains infinity"):
                call(values)
        return
    padded, scaled = (call(values) for call in calls)
    np.testing.assert_array_equal(padded, values)
    # No standardised number is larger than the root of how many there are.
    assert np.abs(scaled).max() <= math.sqrt(values[..., 0].size)
    assert (SpectrumDisplay.from_data(values).eigenvalues >= 0).all()
    # For the next example.
    plt.close("all")


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
