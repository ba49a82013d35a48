"""What a fitted network says about its own error: evidence, reports, curves, radii, records."""

import math
import pickle
from dataclasses import replace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_classifier
from networks import Toy
from scipy.special import rel_entr
from sklearn.frozen import FrozenEstimator
from sklearn.utils import check_random_state

from sklearn_rnnbound import BOUNDS, Bound, Term
from sklearn_rnnbound.bounds import BoundRule, register
from sklearn_rnnbound.bounds.occam import BITS, occam_kl
from sklearn_rnnbound.bounds.union import bin_share
from sklearn_rnnbound.certification.certifier import Certifier, check_method
from sklearn_rnnbound.evidence import trial

NEEDS_TRAINING_DATA = ["occam", "pac_bayes"]
COVERS_TANH = ["peeling", "trivial", "chen2019", "zhang2018"]


def weights_of(clf):
    return clf.U_, clf.W_, clf.V_


def with_weights(clf, U, W, V):
    """A copy of a classifier with other weights."""
    copy = pickle.loads(pickle.dumps(clf))
    copy._certifier = replace(copy._certifier, weights={"U": U, "W": W, "V": V})
    return pickle.loads(pickle.dumps(copy))


@pytest.fixture(scope="module")
def boxed(prior, small):
    """A classifier fitted in a box around the prior; not to be refitted."""
    return make_classifier(prior=FrozenEstimator(prior), box_width=0.2, noise_std=0.1).fit(*small)


# Reports


def test_all_bounds_with_all_data(boxed, small, other):
    report = boxed.bound_report_(*other, X_train=small[0], y_train=small[1])
    assert [bound.name for bound in report] == list(BOUNDS)
    assert report.omitted == ()
    assert report.train_error == pytest.approx(1 - boxed.score(*small))
    assert report.test_error == pytest.approx(1 - boxed.score(*other))
    for bound in report:
        assert sum(term.value for term in bound.terms) == pytest.approx(bound.value)
        assert bound.vacuous == (bound.kind != "order_only" and bound.value >= 1)
        assert bool(bound.reason) == bound.vacuous
        assert boxed._certifier.setting.notes[0] in bound.assumptions
        assert (bound.kind == "order_only") == BOUNDS[bound.name].order_only
    estimates = {bound.name for bound in report if bound.kind == "plug_in"}
    assert estimates == {"theorem2", "theorem3", "refined"}
    frame = report.to_frame()
    assert {name: frame.loc[name, "network"] for name in BOUNDS} == {
        name: rule.speaks_of for name, rule in BOUNDS.items()
    }
    for name in BOUNDS:
        assert frame.loc[name, "test_error"] == report.test_error_of(name)


def test_bound_methods_evaluate_the_bounds_on_the_statistics(fitted):
    report = fitted.bound_report_()
    assert {bound.name for bound in report} == set(BOUNDS) - {
        *("localized", "holdout"),
        *NEEDS_TRAINING_DATA,
    }
    certifier = fitted._certifier
    for bound in report:
        value = BOUNDS[bound.name](certifier.statistics, None, certifier.setting).value
        assert fitted.generalization_bound_(method=bound.name) == value
        assert bound.value == value


def test_rows_without_their_data_are_left_out_with_a_line_and_raise_by_name(fitted, small):
    report = fitted.bound_report_()
    lines = {line.split(" needs ")[0]: line for line in report.omitted}
    assert set(lines) == {"localized", "holdout", *NEEDS_TRAINING_DATA}
    for name, part in [("holdout", "test"), ("occam", "train"), ("pac_bayes", "train")]:
        assert f"pass X_{part} and y_{part}" in lines[name]
        assert lines[name] in str(report)
        with pytest.raises(ValueError, match=rf"{name} needs .*X_{part} and y_{part}"):
            fitted.bound_report_(methods=["theorem2", name])
        with pytest.raises(ValueError, match=rf"'{name}' needs data.*'localized'") as caught:
            fitted.generalization_bound_(method=name)
        X, y = f"X_{part}", f"y_{part}"
        assert f"use bound_report_({X}=..., {y}=...)" in str(caught.value)
        data = {X: small[0][1:] if part == "test" else small[0], y: small[1][part == "test" :]}
        assert fitted.bound_report_(**data, methods=name)[name].value > 0
    with pytest.raises(ValueError, match=r"localized needs .*prior"):
        fitted.bound_report_(X_train=small[0], y_train=small[1], methods=["localized"])


def test_unknown_and_inapplicable_methods(small, fitted):
    for method in ("theorem9", "all", ["peeling"], 3):
        with pytest.raises(ValueError, match=r"is unknown; here there are 'paper', 'theorem2'"):
            check_method(method)
    for methods in ("theorem9", ["theorem2", "theorem9"], ("all", "peeling"), []):
        for call in (fitted.bound_report_, lambda **kw: fitted.bound_curve_(*small, **kw)):
            with pytest.raises(ValueError, match=r"is (unknown|empty); there are 'paper', 'theo"):
                call(methods=methods)
    quiet = make_classifier().fit(*small)
    with pytest.raises(ValueError, match=r"noise_std is 0.*theorem2"):
        quiet.generalization_bound_(method="theorem3")
    tanh = make_classifier(activation="tanh").fit(*small)
    with pytest.raises(ValueError, match=r"theorem2 .* homogeneous .*tanh.*that apply: peeling,"):
        tanh.generalization_bound_()
    report = tanh.bound_report_(simultaneous=True)
    assert {bound.name for bound in report} >= set(COVERS_TANH)
    assert len(report.omitted) == len(BOUNDS) - len(report)


@pytest.mark.parametrize("part", ["test", "train"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X * np.nan, y), "contains NaN"),
        (lambda X, y: (X[:, :, :1], y), "1 features per step"),
        (lambda X, y: (X[0], y), "2 dimensions"),
        (lambda X, y: (X * 1e300, y), "range of float32"),
        (lambda X, y: (X, y[1:]), "inconsistent numbers of samples"),
        (lambda X, y: (X, np.full(60, "a")), r"\[0, 1, 2\].*'a'"),
    ],
    ids=["nan", "features", "dimensions", "range", "length", "labels"],
)
def test_errors_in_data_say_whose_they_are(small, part, change, message):
    X, y = small[0].astype(np.float32), small[1]
    clf = make_classifier(max_iter=1).fit(X, y)
    X, y = change(*small)
    with pytest.raises(ValueError, match=rf"(?s)^X_{part}, y_{part}: .*{message}"):
        clf.bound_report_(**{f"X_{part}": X, f"y_{part}": y})
    with pytest.raises(ValueError, match=f"X_{part} and y_{part} go together"):
        clf.bound_report_(**{f"X_{part}": X})


def test_a_method_named_twice_is_one_row(fitted):
    names = ["paper", "peeling", "theorem3", "peeling"]
    report = fitted.bound_report_(methods=names, simultaneous=True)
    assert [bound.name for bound in report] == ["theorem3", "peeling"]
    assert report["peeling"].delta == fitted.delta / 2


def test_bounds_that_hold_together_share_delta(boxed, small, other):
    arguments = {"X_train": small[0], "y_train": small[1], "delta": 0.03}
    alone = boxed.bound_report_(*other, **arguments)
    together = boxed.bound_report_(*other, **arguments, simultaneous=True)
    # The two rows of which only the order is known state nothing that could fail.
    count = len(BOUNDS) - 2
    assert together.simultaneous
    assert together.delta == pytest.approx(0.03)
    assert "for all bounds together" in str(together)
    shared = f"delta = 0.03 in equal parts among {count} rows"
    for bound in together:
        assert any(shared in line for line in bound.assumptions)
        if bound.kind == "order_only":
            assert bound.value == alone[bound.name].value
            assert bound.delta is None
        else:
            assert bound.delta == 0.03 / count
            assert bound.value > alone[bound.name].value
    by_name = boxed.bound_report_(methods=["peeling", "trivial"], simultaneous=True, delta=0.04)
    for bound in by_name:
        assert bound.value == boxed.generalization_bound_(method=bound.name, delta=0.02)
    # Orders alone share nothing.
    orders = boxed.bound_report_(methods=["zhang2018", "chen2019"], simultaneous=True)
    assert [bound.value for bound in orders] == [alone[bound.name].value for bound in orders]


def test_a_report_is_reproducible_and_leaves_global_state_alone(boxed, small, other):
    torch.manual_seed(7)
    numpy_generator = check_random_state(None)
    before = torch.get_rng_state(), numpy_generator.get_state()[1].copy(), torch.get_num_threads()
    X, y = small
    first, second = (boxed.bound_report_(*other, X_train=X, y_train=y) for _ in range(2))
    assert first == second
    assert boxed.bound_curve_(X, y) == boxed.bound_curve_(X, y)
    boxed.certified_radius_(X)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], numpy_generator.get_state()[1])
    assert before[2] == torch.get_num_threads()
    # Which rows are asked for, and in which order, moves none of them.
    for name in NEEDS_TRAINING_DATA:
        alone = boxed.bound_report_(X_train=X, y_train=y, methods=name)
        assert alone[name].value == first[name].value


def test_test_data_change_no_bound_but_the_holdout(boxed, small, other):
    train = {"X_train": small[0], "y_train": small[1]}
    with_test, without = boxed.bound_report_(*other, **train), boxed.bound_report_(**train)
    assert {b.name for b in with_test} - {b.name for b in without} == {"holdout"}
    for bound in without:
        assert with_test[bound.name].value == bound.value


# Guards against certificates on the wrong data


@pytest.mark.parametrize(
    "change",
    [
        lambda X, y: (X[::-1], y[::-1]),
        lambda X, y: (X + 0.5, y),
        lambda X, y: (X[:-1], y[:-1]),
        lambda X, y: (np.concatenate([X, X[:1]]), np.append(y, y[0])),
        lambda X, y: (np.concatenate([np.zeros((60, 1, 2)), X], 1), y),
        lambda X, y: (X, np.roll(y, 1)),
        lambda X, y: (X, y + 1),
    ],
    ids=["shuffled", "other", "shorter", "longer", "other steps", "wrong labels", "unknown labels"],
)
def test_training_data_must_be_those_of_fit(fitted, small, change):
    X, y = change(*small)
    for methods in ("all", "occam", "theorem2"):
        with pytest.raises(ValueError, match=r"X_train|y_train"):
            fitted.bound_report_(X_train=X, y_train=y, methods=methods)
    with pytest.raises(ValueError, match=r"X_train|y_train"):
        fitted.bound_curve_(X, y)


def test_training_data_are_not_held_out(fitted, small):
    with pytest.raises(ValueError, match="nothing is held out"):
        fitted.bound_report_(*small)


def test_one_huge_score_does_not_hide_other_labels(small):
    X, y = small
    X = X.copy()
    X[0] = 1e6
    clf = make_classifier(learning_rate=1e-9, max_iter=1).fit(X, y)
    wrong = clf.predict(X)
    assert (wrong != y).any()
    with pytest.raises(ValueError, match="are not the data of fit"):
        clf.bound_report_(X_train=X, y_train=wrong, methods="occam")
    assert clf.bound_report_(X_train=X, y_train=y, methods="occam")["occam"].kind == "certified"


def test_rows_of_positive_weight_are_the_training_data(small):
    X, y = small
    weight = np.where(np.arange(60) % 4, 1.0 + np.arange(60), 0.0)
    clf = make_classifier().fit(X, y, weight)
    kept = {"X_train": X[weight > 0], "y_train": y[weight > 0]}
    occam = clf.bound_report_(**kept, methods="occam")["occam"]
    assert any("unweighted" in line for line in occam.assumptions)
    with pytest.raises(ValueError, match="rows of positive weight"):
        clf.bound_report_(X_train=X, y_train=y)


def test_training_data_may_come_in_the_other_precision_and_as_a_table(small):
    X, y = small
    clf = make_classifier(step_size=2).fit(X.reshape(60, 10).astype(np.float32), y)
    frame = pd.DataFrame(X.reshape(60, 10))
    assert clf.bound_report_(X_train=frame, y_train=pd.Series(y), methods="occam")["occam"].value


# Errors


def test_a_tie_is_an_error_of_the_holdout(small, fitted):
    X, y = small
    clf = make_classifier(beta_v=0.0).fit(X, y)
    # Also on the data of fit: a network without any margin cannot recognise them.
    report = clf.bound_report_(X, y)
    assert clf.score(X, y) > 0
    assert report.test_error == report.train_error == 1.0
    assert report["holdout"].value == 1.0
    assert report["holdout"].reason == "Every held-out sample is an error."
    # Empty sequences have scores of zero.
    mixed = np.concatenate([X, np.zeros((20, 5, 2))]), np.append(y, np.zeros(20, int))
    counts = fitted.bound_report_(*mixed, methods="holdout")["holdout"]
    errors = (fitted.predict(X) != y).sum() + 20
    assert counts.empirical_risk == pytest.approx(errors / 80)


@pytest.mark.parametrize("labels", [[0, 1, 2], ["a", "b", "c"]], ids=str)
def test_unknown_test_labels_are_errors(small, labels):
    X, y = small
    names = np.array(labels, dtype=object if isinstance(labels[0], str) else int)[y]
    clf = make_classifier().fit(X, names)
    unknown = {int: 99, str: "z"}[type(labels[0])]
    wrong = np.where(np.arange(60) < 12, np.array(unknown, dtype=names.dtype), names)
    report = clf.bound_report_(X, wrong, X_train=X, y_train=names)
    errors = (clf.predict(X) != wrong).sum()
    assert errors >= 12
    assert report.test_error == report["holdout"].empirical_risk == pytest.approx(errors / 60)
    for name in NEEDS_TRAINING_DATA:
        assert report.test_error_of(name) >= 12 / 60


def test_predictions_without_a_score_are_errors(small):
    X, y = small[0].astype(np.float32), small[1]
    clf = make_classifier().fit(X, y)
    # Infinite states, read out with both signs: the scores are not numbers.
    clf = with_weights(clf, clf.U_, np.full_like(clf.W_, 1e20), clf.V_)
    lost = clf.net_.scores(torch.from_numpy(X)).isnan().any(1).numpy()
    assert lost.sum() > 30
    report = clf.bound_report_(X, y, methods="holdout")
    assert report.test_error == report["holdout"].empirical_risk >= lost.mean()


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("scale", [1e-165, 1e160])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_squares_out_of_range_make_no_certificate_smaller(small, prior, scale, activation):
    X, y = small
    shuffled = np.random.default_rng(0).permutation(y)
    common = {"min_eigenvalue": 0.0, "margin": scale}
    norms = {"beta_u": 1.0, "beta_v": 1.0, "learning_rate": 1e-6, "activation": activation}
    for beta_w in (1.0, (0.9, 0.1)):
        clf = make_classifier(beta_w=beta_w, **common, **norms).fit(X * scale, shuffled)
        bound = clf.bound_report_(methods="peeling")["peeling"]
        assert bound.vacuous
        assert bound.term("complexity") > 1
    if scale < 1 and activation == "relu":
        clf = make_classifier(prior=prior, box_width=1.0, **common).fit(X * scale, y)
        assert clf.bound_report_(methods="localized")["localized"].term("complexity") > 1


# Occam


def transcribed_code(difference, bits):
    """Rounded matrix and its length, entry by entry."""
    largest = max(abs(v) for v in difference.ravel())
    exponent = 0
    if largest:
        top = 0
        while 2.0**top <= largest:
            top += 1
        while 2.0 ** (top - 1) > largest:
            top -= 1
        exponent = top - (bits - 1)
    unit, limit = 2.0**exponent, 2 ** (bits - 1)
    integers = [min(max(round(v / unit), -limit), limit) for v in difference.ravel()]
    non_zero = sum(q != 0 for q in integers)
    number = 2 * exponent if exponent > 0 else 1 - 2 * exponent
    length = math.log(number * (number + 1)) + math.log(len(integers) + 1)
    length += math.log(math.comb(len(integers), non_zero)) + non_zero * bits * math.log(2)
    return unit * np.array(integers, float).reshape(difference.shape), length


def loop_errors(U, W, V, X, y):
    h = np.zeros((len(X), len(W)))
    for t in range(X.shape[1]):
        h = np.maximum(X[:, t] @ U.T + h @ W.T, 0)
    scores = h @ V.T
    return sum(
        row[label] <= max(np.delete(row, label)) for row, label in zip(scores, y, strict=True)
    )


@pytest.mark.parametrize("case", ["from zero", "from a prior"])
def test_occam_by_hand(small, other, prior, fitted, case):
    X, y = small
    if case == "from zero":
        clf, reference = fitted, [np.zeros_like(w) for w in weights_of(fitted)]
    else:
        clf = make_classifier(prior=prior, max_iter=2).fit(X, y)
        reference = weights_of(prior)
    report = clf.bound_report_(*other, X_train=X, y_train=y, methods="occam")
    bound = report["occam"]
    values = {}
    for bits in BITS:
        codes = [
            transcribed_code(w - r, bits) for w, r in zip(weights_of(clf), reference, strict=True)
        ]
        U, W, V = (r + rounded for r, (rounded, _) in zip(reference, codes, strict=True))
        length = math.log(16) + sum(nats for _, nats in codes)
        errors = loop_errors(U, W, V, X, y)
        value = occam_kl(errors / 60, length, 60, clf.delta)
        values[value] = (bits, length, errors, loop_errors(U, W, V, *other) / 45)
    value = min(values)
    bits, length, errors, test_error = values[value]
    assert bound.value == pytest.approx(value)
    assert bound.empirical_risk == errors / 60
    line = bound.assumptions[-1]
    assert f"{bits} bits each" in line
    assert f"described in {length / math.log(2):.0f} bits" in line
    assert report.test_error_of("occam") == pytest.approx(test_error)
    assert ("from zero" in line) == (case == "from zero")
    # kl(risk || value) is the budget.
    risk = errors / 60
    divergence = rel_entr(risk, bound.value) + rel_entr(1 - risk, 1 - bound.value)
    budget = (length + math.log(2 * math.sqrt(60) / clf.delta)) / 60
    assert divergence == pytest.approx(budget) or bound.value == 1


# PAC-Bayes

STILL = {"optimizer": "sgd", "learning_rate": 1e-12, "max_iter": 1}


def pac_bayes_of(clf, X, y, *test):
    return clf.bound_report_(*test, X_train=X, y_train=y, methods="pac_bayes")["pac_bayes"]


def prior_mean(clf):
    certifier = clf._certifier
    return certifier._trial(certifier.setting).prior_mean.values()


def about_the_posterior(bound):
    """Standard deviations of the posterior and of the prior."""
    (line,) = (line for line in bound.assumptions if "posterior of standard deviation" in line)
    posterior, prior = line.split("standard deviation ")[1].split(" around")[0], line
    return float(posterior), float(prior.split("prior of ")[1].split()[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"beta_u": 0.7, "beta_w": 0.5, "beta_v": 0.6},
        {"unit_types": 2},
        {"activation": "tanh"},
        {"random_state": np.random.RandomState(3)},
    ],
    ids=lambda params: ",".join(params),
)
def test_prior_of_an_untrained_network_is_the_network(small, dtype, params):
    X, y = small
    clf = make_classifier(**STILL, **params).fit(X.astype(dtype), y)
    for center, weight in zip(prior_mean(clf), weights_of(clf), strict=True):
        np.testing.assert_allclose(center, weight, rtol=1e-5, atol=1e-6)
    bound = pac_bayes_of(clf, X.astype(dtype), y)
    assert any("around the initial weights" in line for line in bound.assumptions)
    # Only the bin of the prior's width is paid for.
    nats = -math.log(bin_share(round(math.log2(about_the_posterior(bound)[1]))))
    sampled = bound.empirical_risk + bound.term("monte_carlo")
    informed = sampled + bound.term("kl")
    divergence = rel_entr(sampled, informed) + rel_entr(1 - sampled, 1 - informed)
    assert divergence == pytest.approx(nats / 60, rel=1e-3)


def test_warm_start_keeps_the_initial_weights_of_its_first_fit(small):
    X, y = small
    clf = make_classifier(warm_start=True, random_state=np.random.RandomState(0), **STILL)
    first = [weight.copy() for weight in weights_of(clf.fit(X, y))]
    clf.set_params(learning_rate=0.1, max_iter=5).fit(X, y)
    assert not np.allclose(clf.W_, first[1], atol=1e-3)
    for center, weight in zip(prior_mean(clf), first, strict=True):
        np.testing.assert_allclose(center, weight, atol=1e-9)


def test_prior_is_the_centre_of_the_prior(small, prior):
    X, y = small
    clf = make_classifier(prior=prior, **STILL).fit(X, y)
    near = pac_bayes_of(clf, X, y)
    assert any("around weights learned on up to 45 samples" in line for line in near.assumptions)
    for center, weight in zip(prior_mean(clf), weights_of(prior), strict=True):
        np.testing.assert_array_equal(center, weight)
    alone = make_classifier(max_iter=60, learning_rate=0.05).fit(X, y)
    assert near.term("kl") < pac_bayes_of(alone, X, y).term("kl")


def test_pac_bayes_speaks_of_the_randomised_classifier(small, other, prior):
    X, y = small
    clf = make_classifier(prior=prior, **STILL).fit(X, y)
    report = clf.bound_report_(*other, X_train=X, y_train=y, methods="pac_bayes")
    bound = report["pac_bayes"]
    assert bound.kind == "certified"
    text = "\n".join(bound.assumptions)
    assert "randomised classifier" in text
    assert "480 independent draws" in text
    std, _ = about_the_posterior(bound)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(150):
        U, W, V = (w + std * rng.normal(size=w.shape) for w in weights_of(clf))
        drawn.append((loop_errors(U, W, V, X, y) / 60, loop_errors(U, W, V, *other) / 45))
    spread = np.std(drawn, axis=0)
    risk, test_error = np.mean(drawn, axis=0)
    assert abs(bound.empirical_risk - risk) < 5 * spread[0] / 150**0.5 + 5 * 0.5 / 480**0.5
    assert abs(report.test_error_of("pac_bayes") - test_error) < 5 * 0.5 / 45**0.5


def test_the_chosen_posterior_meets_fresh_draws(small, fitted, monkeypatch):
    calls = []
    original = trial.random_error

    def spy(cell, weights, std, X, targets, generator):
        state = bytes(generator.get_state().numpy())
        error = original(cell, weights, std, X, targets, generator)
        calls.append((std, len(X), state, error))
        return error

    monkeypatch.setattr(trial, "random_error", spy)
    bound = pac_bayes_of(fitted, *small)
    stds, sizes, states, errors = zip(*calls, strict=True)
    assert stds[:13] == tuple(2.0**e for e in range(-12, 1))
    assert len(calls) == 13 + 8
    (chosen,) = set(stds[13:])
    assert chosen in stds[:13]
    assert set(sizes) == {60}
    # No draw serves twice: the choice among the widths has seen none of the last eight.
    assert len(set(states)) == 21
    assert bound.empirical_risk == pytest.approx(np.mean(errors[13:]), rel=1e-12)
    assert about_the_posterior(bound)[0] == pytest.approx(chosen, rel=1e-4)


# Certified radius


def first_used_step(x):
    used = [t for t, row in enumerate(x) if any(v != 0 for v in row)]
    return used[0] if used else len(x)


def transcribed_radius(clf, x):
    """min_c (y_p - y_c) / sum over the steps that are used of |V_p - V_c| |W|^(L-t) |U| 1."""
    U, W, V = (weight.astype(np.float64) for weight in weights_of(clf))
    h = np.zeros(len(W))
    for row in x.astype(np.float64):
        g = U @ row + W @ h
        h = np.maximum(g, 0) if clf.activation == "relu" else np.tanh(g)
    scores = V @ h
    p, L = int(np.argmax(scores)), len(x)
    radii = []
    for c in range(len(V)):
        if c == p:
            continue
        gap = scores[p] - scores[c]
        slope = 0.0
        for t in range(first_used_step(x), L):
            power = np.linalg.matrix_power(np.abs(W), L - 1 - t)
            slope += (np.abs(V[p] - V[c]) @ power @ np.abs(U)).sum()
        radii.append(gap / slope if gap else 0.0)
    return min(radii)


def padded(X):
    """The sequences with a front padding of every length."""
    X = X.copy()
    for i, x in enumerate(X):
        x[: i % (len(x) + 1)] = 0
    return X


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_certified_radius_is_the_transcribed_one(small, activation, dtype, n_classes, monkeypatch):
    monkeypatch.setattr("sklearn_rnnbound.training.noise._CHUNK_ENTRIES", 7 * 5 * 6)
    X, y = small
    X = padded(X).astype(dtype)
    # A zero among the inputs is no padding, and neither is a step of zeros after the first one.
    X[0, 2], X[1, 3, 0] = 0, 0
    clf = make_classifier(activation=activation).fit(X, y % n_classes)
    radius = clf.certified_radius_(X)
    assert radius.shape == (60,)
    assert radius.dtype == np.float64
    np.testing.assert_allclose(radius, [transcribed_radius(clf, x) for x in X], rtol=1e-9)
    empty = ~X.any((1, 2))
    assert empty.sum() == 10
    assert (radius[empty] == 0).all()
    assert (radius[~empty] > 0).mean() > 0.9
    # More padding changes nothing.
    longer = np.concatenate([np.zeros((60, 3, 2), dtype), X], 1)
    np.testing.assert_allclose(clf.certified_radius_(longer), radius, rtol=1e-9)
    # The paper's Lemma 8 with the norms of the weights is never larger.
    if n_classes == 2:
        powers = sum(clf.beta_w_**s for s in range(5))
        by_norms = np.abs(clf.decision_function(X)) / (2 * clf.beta_v_ * clf.beta_u_ * powers)
        assert (by_norms <= radius * (1 + 1e-5)).all()


def attack(clf, X, radius, n_restarts=6, n_steps=30):
    """Smallest y_p - y_c that projected sign gradients find within the radius, per sample."""
    weights = {name: torch.from_numpy(A).double() for name, A in clf._certifier.weights.items()}

    def scored(X):
        return clf._certifier.cell.scores(weights, X)

    clean = torch.from_numpy(X).double()
    free = torch.from_numpy(
        np.array([[t >= first_used_step(x) for t in range(len(x))] for x in X])
    )[:, :, None]
    reach = torch.from_numpy(radius)[:, None, None] * free
    predicted = scored(clean).argmax(1, keepdim=True)
    generator = torch.Generator().manual_seed(0)
    worst = torch.full((len(X),), math.inf, dtype=torch.float64)
    for rival in range(len(clf.classes_)):
        for restart in range(n_restarts):
            start = 2 * torch.rand(clean.shape, generator=generator, dtype=torch.float64) - 1
            change = reach * (start if restart % 2 else start.sign())
            for step in range(n_steps + 1):
                change.requires_grad_(True)
                scores = scored(clean + change)
                gap = scores.gather(1, predicted)[:, 0] - scores[:, rival]
                (gradient,) = torch.autograd.grad(gap.sum(), change)
                at_rival = predicted[:, 0] == rival
                worst = torch.minimum(worst, gap.detach().masked_fill(at_rival, math.inf))
                size = reach * 2 * 0.85**step
                change = (change.detach() - size * gradient.sign()).clamp(-reach, reach)
    return worst.numpy()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_attack_within_the_radius_changes_a_prediction(small, activation, n_classes):
    X, y = small
    X = padded(X)[: 6 * 5]
    y = np.arange(len(X)) % n_classes
    clf = make_classifier(activation=activation, beta_w=1.0).fit(X, y)
    radius = clf.certified_radius_(X)
    certain = radius > 0
    assert certain.sum() > 20
    scale = np.abs(clf.decision_function(X)).max()
    assert (attack(clf, X[certain], radius[certain]) >= -1e-9 * scale).all()
    # The attack is not toothless: far outside it does.
    assert (attack(clf, X[certain], 100 * radius[certain] + 10, 2, 10) < 0).mean() > 0.5


@pytest.mark.parametrize("zeros", ["V", "W", "U"])
def test_radius_promises_nothing_where_the_norms_overflow(small, zeros):
    X, y = small
    weights = {
        "U": np.ones((2, 2)),
        "W": 10.0 * np.eye(2),
        "V": np.array([[0.0, 0.0], [1.0, 1.0]]),
    }
    weights[zeros][1, 1] = 0
    if zeros == "U":
        weights["U"][1] = 0
    clf = with_weights(make_classifier(hidden_size=2).fit(X, y > 0), **weights)
    long = np.zeros((3, 400, 2))
    # The last step decides, the earlier ones are kept from the state by relu.
    long[:, :-1] = -1.0
    long[:, -1] = 5.0
    assert np.isfinite(clf.decision_function(long)).all()
    assert (clf.decision_function(long) > 0).all()
    assert (clf.certified_radius_(long) < 1.0).all()


def test_radius_checks_its_input_and_is_zero_where_two_classes_tie(fitted, small):
    X, y = small
    with pytest.raises(ValueError, match="3 features per step"):
        fitted.certified_radius_(np.zeros((2, 5, 3)))
    as_lists = fitted.certified_radius_(X.tolist())
    np.testing.assert_array_equal(as_lists, fitted.certified_radius_(X))
    tied = make_classifier(beta_v=0.0).fit(X, y)
    np.testing.assert_array_equal(tied.certified_radius_(X), np.zeros(60))


# Curves over n


@pytest.fixture(scope="module")
def large():
    """Two classes in many samples, and a classifier of them; not to be refitted."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1600, 4, 1))
    y = (X.sum((1, 2)) > 0).astype(int)
    params = {"beta_u": 1.0, "beta_w": (0.9, 0.0), "beta_v": 1.0, "margin": 1.0}
    return make_classifier(**params).fit(X, y), X, y


@pytest.mark.parametrize("name", ["large", "boxed"])
def test_curve_recomputes_the_bounds_on_nested_parts(name, request, small):
    clf, X, y = request.getfixturevalue("large") if name == "large" else (None, *small)
    clf = clf or request.getfixturevalue("boxed")
    fractions = (0.125, 0.25, 0.5, 1)
    curve = clf.bound_curve_(X, y, fractions=fractions)
    assert curve.n_samples == tuple(round(part * len(X)) for part in fractions)
    full = clf.bound_report_(X_train=X, y_train=y)
    for report in curve.reports:
        assert [bound.name for bound in report] == [bound.name for bound in full]
        assert {bound.delta for bound in report} <= {clf.delta, None}
    for bound in curve.reports[-1]:
        assert bound.kind == full[bound.name].kind
        assert bound.value == pytest.approx(full[bound.name].value, rel=1e-9)
        for term in bound.terms:
            assert term.value == pytest.approx(full[bound.name].term(term.name), rel=1e-9)
    assert curve.reports[-1].train_error == full.train_error


def test_parts_are_nested_random_parts(large, monkeypatch):
    clf, X, y = large
    parts = []
    reduced = Certifier._reduced

    def watched(self, inputs, targets, **options):
        parts.append({row.tobytes() for row in inputs.numpy()})
        # The labels go with their sequences, in the order of the data.
        np.testing.assert_array_equal(targets.numpy(), inputs.sum((1, 2)) > 0)
        return reduced(self, inputs, targets, **options)

    monkeypatch.setattr(Certifier, "_reduced", watched)
    clf.bound_curve_(X, y, fractions=(0.5, 0.125, 0.3), methods="peeling")
    assert [len(part) for part in parts] == [200, 480, 800]
    assert parts[0] < parts[1] < parts[2]
    assert parts[0] != {row.tobytes() for row in X[:200]}


def test_a_curve_keeps_its_margin_so_that_its_rates_show(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=0.9, beta_v=1.0, min_eigenvalue=0.0).fit(X, y)
    methods = ["peeling", "theorem2", "trivial", "zhang2018"]
    curve = clf.bound_curve_(X, y, methods=methods)
    for name in methods:
        assert len({report[name].margin for report in curve.reports}) == 1
    # On all data it is the bound of the report, for which the grid was paid.
    assert curve.reports[-1].bounds == clf.bound_report_(methods=methods).bounds
    strict = clf.bound_curve_(X, y, fractions=(1.0,), methods="peeling", margin=0.5, delta=0.01)
    assert (strict.reports[0]["peeling"].margin, strict.reports[0]["peeling"].delta) == (0.5, 0.01)


def test_bad_calls_of_the_curve(fitted, small):
    for fractions in ((), (0.0, 1.0), (1.5,), (math.nan,), ((0.5, 1.0),), 0.5):
        with pytest.raises(ValueError, match="fractions must be numbers in"):
            fitted.bound_curve_(*small, fractions=fractions)
    with pytest.raises(ValueError, match="needs X_train and y_train"):
        fitted.bound_curve_(None, None)
    with pytest.raises(ValueError, match="holdout needs test data"):
        fitted.bound_curve_(*small, methods="holdout")
    # Tiny and equal fractions make parts of two and more.
    curve = fitted.bound_curve_(*small, fractions=(1e-9, 0.02, 0.5, 0.5, 1))
    assert curve.n_samples == (2, 30, 60)


# From outside: a cell of which nothing was proved, and bounds of one class each

PROVED_FOR_ALL = ["holdout", "occam", "pac_bayes"]


def test_bounds_that_need_a_property_do_not_apply_to_a_cell_without(small, other, toy_cell):
    X, y = small
    clf = make_classifier(cell="toy", noise_std=0.1, max_iter=20).fit(X, y)
    report = clf.bound_report_(*other, X_train=X, y_train=y)
    assert [bound.name for bound in report] == PROVED_FOR_ALL
    assert all(bound.value > bound.empirical_risk for bound in report)
    assert len(report.omitted) == len(BOUNDS) - 3
    for line in report.omitted:
        rule = BOUNDS[line.split()[0]]
        assert f"proved for {rule.needs_property.name} cells" in line
        assert "cell='toy'" in line
        assert "\n" not in line
    with pytest.raises(
        ValueError, match=r"peeling .* row-Lipschitz .*'toy'.*: holdout, occam, pac_"
    ):
        clf.bound_report_(*other, X_train=X, y_train=y, methods=["occam", "peeling"])
    for method in ("paper", "peeling"):
        with pytest.raises(ValueError, match="is not known to be one"):
            clf.generalization_bound_(method=method)
    curve = clf.bound_curve_(X, y, fractions=(0.5, 1))
    assert [bound.name for bound in curve.reports[0]] == PROVED_FOR_ALL[1:]
    loaded = pickle.loads(pickle.dumps(clf))
    assert loaded.bound_report_(*other, X_train=X, y_train=y) == report
    np.testing.assert_array_equal(loaded.predict(X), clf.predict(X))


def test_norms_and_radii_that_a_cell_lacks_are_errors(small, toy_cell):
    X, y = small
    clf = make_classifier(cell="toy").fit(X, y)
    with pytest.raises(ValueError, match=r"no certified radius is known for cell='toy'"):
        clf.certified_radius_(X)
    for inputs in (None, X):
        with pytest.raises(ValueError, match=r"'toy'.* no linearised form: .*form='gradient'"):
            clf.fisher_rao_norm_(inputs)
    gradient = clf.fisher_rao_norm_(X, y, form="gradient")
    assert clf.fisher_rao_norm_(form="gradient") == pytest.approx(gradient)
    weights = {
        name: torch.tensor(A, requires_grad=True) for name, A in clf._certifier.weights.items()
    }
    total = 0.0
    for x, label in zip(torch.from_numpy(X), torch.from_numpy(y), strict=True):
        scores = clf._certifier.cell.scores(weights, x[None])
        loss = torch.nn.functional.cross_entropy(scores, label[None])
        gradients = torch.autograd.grad(loss, list(weights.values()))
        pairs = zip(weights.values(), gradients, strict=True)
        total += sum(float((A.detach() * dA).sum()) for A, dA in pairs) ** 2
    assert gradient == pytest.approx(math.sqrt(total / 60))


class HalvedWeights(BoundRule):
    """Hoeffding's bound for half of every weight, as if it were fixed beforehand."""

    name = "halved"
    data = "train"
    speaks_of = "rounded"

    def evidence(self, trial):
        halves = {name: weight / 2 for name, weight in trial.weights.items()}
        on_test = trial.test_errors(halves) / trial.n_test if trial.n_test else None
        return trial.train_errors(halves), on_test

    def test_error(self, sample, evidence, setting):
        return evidence[1]

    def bound(self, sample, evidence, setting):
        n, delta = sample.n_samples, setting.delta
        risk = Term("empirical_risk", evidence[0] / n, "n^0")
        slack = Term("confidence", math.sqrt(math.log(1 / delta) / (2 * n)), "n^-1/2")
        value = risk.value + slack.value
        return Bound(self.name, value, "certified", (risk, slack), None, delta, (), False, "")


def test_a_bound_from_outside_that_tries_other_weights_is_one_class(fitted, small, other):
    X, y = small
    with mock.patch.dict(BOUNDS):
        register(HalvedWeights)
        report = fitted.bound_report_(*other, X_train=X, y_train=y)
        assert [bound.name for bound in report][-1] == "halved"
        halves = [weight / 2 for weight in weights_of(fitted)]
        expected = loop_errors(*halves, X, y) / 60 + math.sqrt(math.log(1 / 0.05) / 120)
        assert report["halved"].value == pytest.approx(expected)
        assert report.test_error_of("halved") == loop_errors(*halves, *other) / 45
        assert report.to_frame().loc["halved", "network"] == "rounded"
        with pytest.raises(ValueError, match="'halved' needs data"):
            fitted.generalization_bound_(method="halved")
        assert fitted.bound_report_().omitted[-1].startswith("halved needs the training data")
        last = fitted.bound_curve_(X, y, fractions=(0.5, 1), methods="halved").reports[-1]
        assert last["halved"].value == report["halved"].value


# Records


def parts(record):
    """All values of a record, dictionaries and tuples unfolded."""
    if isinstance(record, dict | tuple):
        values = record.values() if isinstance(record, dict) else record
        return [part for value in values for part in parts(value)]
    return [record]


@pytest.mark.parametrize("name", ["fitted", "boxed"])
def test_a_record_gives_the_certifier_back(name, request, small):
    certifier = request.getfixturevalue(name)._certifier
    record = certifier.to_record()
    plain = {np.ndarray, bool, int, float, str, type(None)}
    assert {type(part) for part in parts(record)} <= plain
    train = tuple(map(torch.from_numpy, small))
    for copy in (record, pickle.loads(pickle.dumps(record))):
        restored = Certifier.from_record(copy)
        for part, expected in zip(parts(restored.to_record()), parts(record), strict=True):
            np.testing.assert_array_equal(part, expected)
            assert getattr(part, "dtype", None) == getattr(expected, "dtype", None)
        assert restored.setting == certifier.setting
        first, second = (
            one.report(None, train, "all", one.setting) for one in (certifier, restored)
        )
        assert first == second


def test_what_was_proved_is_not_read_from_a_record(small, toy_cell, monkeypatch):
    certifier = make_classifier(cell="toy").fit(*small)._certifier
    record = certifier.to_record()
    proved = frozenset({BOUNDS["peeling"].needs_property})
    with pytest.raises(TypeError, match="properties"):
        Certifier.from_record(record | {"setting": record["setting"] | {"properties": proved}})
    # What the package comes to know of a cell holds for older records too.
    monkeypatch.setattr(Toy, "properties", proved)
    assert Certifier.from_record(record).setting.properties == proved
    assert certifier.setting.properties == frozenset()
