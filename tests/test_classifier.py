"""The estimator: input, labels, fitted attributes, constraints, bound methods."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from conftest import make_classifier
from data import japanese_vowels
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from skorch.callbacks import Callback

from sklearn_rnnbound import BOUNDS, RNNBoundClassifier
from sklearn_rnnbound.network import RecurrentNetwork, fisher_rao_norm
from sklearn_rnnbound.statistics import gradient_norm


def weights(clf):
    return clf.U_, clf.W_, clf.V_


# Input


def test_table_is_read_as_steps_of_step_size_columns(small):
    X, y = small
    sequences = make_classifier().fit(X, y)
    table = make_classifier(step_size=2).fit(X.reshape(60, 10), y)
    assert (sequences.n_features_in_, table.n_features_in_) == (2, 10)
    np.testing.assert_array_equal(
        sequences.decision_function(X), table.decision_function(X.reshape(60, 10))
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_of_the_data_is_kept(small, dtype):
    X, y = small
    clf = make_classifier().fit(X.astype(dtype), y)
    assert all(w.dtype == dtype for w in weights(clf))
    assert clf.predict_proba(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize(
    "convert",
    [
        np.ndarray.tolist,
        torch.from_numpy,
        np.asfortranarray,
        lambda X: X.astype(">f8"),
        lambda X: X[::-1][::-1],
        lambda X: X.astype(object),
    ],
    ids=["list", "tensor", "fortran", "big-endian", "strided", "object"],
)
def test_kinds_of_sequences_give_the_same_fit(small, convert):
    X, y = small
    expected = make_classifier().fit(X, y)
    clf = make_classifier().fit(convert(X), y)
    np.testing.assert_allclose(clf.W_, expected.W_, rtol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(convert(X)), expected.predict_proba(X), rtol=1e-12)


def test_integers_and_tensor_labels(small):
    X, y = small
    clf = make_classifier().fit((10 * X).astype(int), torch.from_numpy(y))
    assert clf.W_.dtype == np.float64
    assert clf.classes_.tolist() == [0, 1, 2]


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


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["no", "yes", "perhaps"], ["no", "perhaps", "yes"]),
        ([-7, 100, 3], [-7, 3, 100]),
        ([True, False, True], [False, True]),
    ],
)
def test_labels_of_every_kind_come_back(small, labels, classes):
    X, y = small
    y = np.array(labels)[y]
    clf = make_classifier(max_iter=60, learning_rate=0.02).fit(X, y)
    assert clf.classes_.tolist() == classes
    assert clf.predict(X).dtype == y.dtype
    assert clf.score(X, y) > 0.9


def test_binary_decision_is_the_difference_of_the_scores(small):
    X, y = small
    clf = make_classifier().fit(X, y > 0)
    decision = clf.decision_function(X)
    assert decision.shape == (60,)
    log_odds = np.log(clf.predict_proba(X)[:, 1] / clf.predict_proba(X)[:, 0])
    np.testing.assert_allclose(decision, log_odds, rtol=1e-9)
    np.testing.assert_array_equal(clf.predict(X), decision > 0)


def test_probabilities(fitted, small):
    X, _ = small
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    np.testing.assert_allclose(np.log(probabilities), fitted.predict_log_proba(X))
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(1)], fitted.predict(X))


def test_scores_are_those_of_the_recurrence(fitted, small):
    X, _ = small
    h = np.zeros((60, 6))
    for t in range(5):
        h = np.maximum(X[:, t] @ fitted.U_.T + h @ fitted.W_.T, 0)
    np.testing.assert_allclose(fitted.decision_function(X), h @ fitted.V_.T, rtol=1e-10)


def test_front_padding_changes_no_prediction(fitted, small):
    X, _ = small
    padded = np.concatenate([np.zeros((60, 7, 2)), X], axis=1)
    np.testing.assert_allclose(
        fitted.decision_function(padded), fitted.decision_function(X), rtol=1e-12
    )


# Bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X, y: (np.where(X > 3, np.nan, X), y), ValueError, "NaN"),
        (lambda X, y: (np.where(X > 3, np.inf, X), y), ValueError, "infinity"),
        (lambda X, y: (X[:, 0, 0], y), ValueError, "Expected 2D array, got 1D"),
        (lambda X, y: (X[..., None], y), ValueError, "X has 4 dimensions"),
        (lambda X, y: (None, y), TypeError, r"X must be .* \(n, L, d\) .* None"),
        (lambda X, y: ("abc", y), TypeError, r"X must be .* 'abc'"),
        (lambda X, y: (X[:, :0], y), ValueError, "at least one step"),
        (lambda X, y: (X[:, :, :0], y), ValueError, "at least one step"),
        (lambda X, y: (X[:0], y[:0]), ValueError, r"0 sample\(s\)"),
        (lambda X, y: (X[:1], y[:1]), ValueError, r"1 sample\(s\)|n_samples=1"),
        (lambda X, y: (X, y[:-1]), ValueError, "inconsistent numbers of samples"),
        (lambda X, y: (X, np.zeros(60)), ValueError, "one class"),
        (lambda X, y: (X, X[:, 0, 0]), ValueError, "continuous"),
        (lambda X, y: (X, None), ValueError, "y"),
        (lambda X, y: (X * 1j, y), ValueError, "Complex"),
        (lambda X, y: (scipy.sparse.csr_array(X[:, 0]), y), TypeError, "toarray"),
        (lambda X, y: ([[[1.0]], [[1.0], [2.0]]] * 30, y), ValueError, "front"),
        (
            lambda X, y: (np.array([X[0], X[1, :3]] * 30, dtype=object), y),
            ValueError,
            "front",
        ),
        (lambda X, y: (np.full((60, 5, 2), "a"), y), ValueError, "could not convert|numeric"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_bad_data(small, change, error, message):
    clf = make_classifier()
    with pytest.raises(error, match=message):
        clf.fit(*change(*small))
    assert not [name for name in vars(clf) if name.endswith("_")]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_size": 0}, "hidden_size"),
        ({"noise_std": -0.1}, "noise_std"),
        ({"noise": "pink"}, "noise"),
        ({"activation": "gelu"}, "activation"),
        ({"loss": "hinge"}, "loss"),
        ({"beta_u": -1.0}, r"beta_u.*pair"),
        ({"beta_w": (1.0,)}, r"beta_w.*pair"),
        ({"beta_w": (1.0, -1.0)}, r"beta_w.*pair"),
        ({"beta_v": (1.0, "x")}, r"beta_v.*pair"),
        ({"beta_v": (np.nan, 1.0)}, r"beta_v.*pair"),
        ({"unit_types": 3}, "unit_types"),
        ({"unit_types": 2, "hidden_size": 1}, "hidden_size >= 2"),
        ({"fisher_rao_max": 0.0}, "fisher_rao_max"),
        ({"input_bound": 0.1}, "input_bound=0.1 does not hold"),
        ({"margin": 0.0}, "margin"),
        ({"margin": "best"}, "margin"),
        ({"delta": 1.0}, "delta"),
        ({"min_eigenvalue": -1.0}, "min_eigenvalue"),
        ({"device": "cuda:99"}, r"device='cuda:99' is not there.*'cpu'"),
        ({"device": "tpu"}, r"device='tpu' is not there"),
        ({"optimizer": "lbfgs"}, "optimizer"),
        ({"batch_size": 0}, "batch_size"),
        ({"class_weight": "uneven"}, "class_weight"),
        ({"class_weight": {0: "heavy"}}, r"class_weight must give the classes \[0, 1, 2\] numbers"),
        ({"class_weight": {0: -1.0}}, r"class_weight must be .* \[-1\.0, 1\.0, 1\.0\]"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, "nor zero for every class"),
        ({"memory": 3}, "memory"),
        ({"n_threads": 0}, "n_threads"),
        ({"n_threads": 5000}, "n_threads"),
        ({"hidden_size": 2**31 - 1}, "hidden_size"),
        ({"step_size": 0}, "step_size"),
    ],
    ids=str,
)
def test_bad_parameters(small, params, message):
    with pytest.raises(ValueError, match=message):
        make_classifier(**params).fit(*small)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay"])
def test_steps_that_float32_does_not_hold(name, small):
    X, y = small
    with pytest.raises(ValueError, match=rf"{name}=1e\+39 is out of the range of float32"):
        make_classifier(**{name: 1e39}).fit(X.astype(np.float32), y)


def test_callbacks_must_be_callbacks(small):
    with pytest.raises(TypeError, match=r"callbacks must hold skorch callbacks.*3"):
        make_classifier(callbacks=[("three", 3)]).fit(*small)


def test_validation_part_needs_two_samples_of_each_class(small):
    X, _ = small
    with pytest.raises(ValueError, match=r"early_stopping.*validation_fraction=0\.1"):
        make_classifier(early_stopping=True).fit(X, np.arange(60) == 0)


def test_width_that_is_no_multiple_of_step_size(small):
    X, y = small
    with pytest.raises(ValueError, match=r"10 columns.*step_size=3"):
        make_classifier(step_size=3).fit(X.reshape(60, 10), y)


@pytest.mark.parametrize("sample_weight", [-np.ones(60), np.zeros(60), np.ones(59)])
def test_bad_sample_weights(small, sample_weight):
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        make_classifier().fit(*small, sample_weight=sample_weight)


def test_one_sample_weight_is_that_of_every_row(small):
    alike = make_classifier().fit(*small, sample_weight=3)
    np.testing.assert_array_equal(alike.W_, make_classifier().fit(*small).W_)


def test_scores_that_leave_the_range_are_no_predictions(fitted, small):
    X, _ = small
    with pytest.raises(ValueError, match=r"scores of 1 sequences, first of number 2,.* float64"):
        fitted.predict(np.concatenate([X[:2], np.full_like(X[:1], 1e308)]))


def test_prediction_needs_a_fit_and_the_features_of_the_fit(fitted, small):
    X, _ = small
    for method in ("predict", "predict_proba", "fisher_rao_norm_"):
        with pytest.raises(NotFittedError):
            getattr(make_classifier(), method)(X)
    with pytest.raises(NotFittedError):
        make_classifier().generalization_bound_()
    with pytest.raises(ValueError, match=r"3 features per step.*fitted with 2"):
        fitted.predict(np.zeros((4, 5, 3)))
    with pytest.raises(ValueError, match=r"2 dimensions.*\(n, L, 2\)"):
        fitted.predict(np.zeros((4, 10)))
    table = make_classifier(step_size=2).fit(X.reshape(60, 10), np.arange(60) % 2)
    with pytest.raises(ValueError, match=r"8 features.*10 features"):
        table.predict(np.zeros((4, 8)))


def test_batch_larger_than_the_sample_is_clipped_with_a_warning(small):
    with pytest.warns(UserWarning, match=r"batch_size=100 .* 60") as caught:
        make_classifier(batch_size=100).fit(*small)
    assert caught[0].filename == __file__


# Reproducibility and global state

FRESH = """
import numpy as np, warnings
warnings.simplefilter("ignore")
from sklearn_rnnbound import RNNBoundClassifier
X = np.random.default_rng(0).normal(size=(40, 6, 3)).astype(np.float32)
y = np.arange(40) % 3
clf = RNNBoundClassifier(8, noise_std=0.1, beta_w=1.0, batch_size=16, max_iter=5, random_state=3)
print(clf.fit(X, y).W_.tobytes().hex(), clf.generalization_bound_().hex())
"""


def test_same_seed_gives_the_same_bits_in_a_fresh_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", FRESH], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(small):
    fits = [make_classifier(noise_std=0.2, random_state=s).fit(*small) for s in (0, 0, 1)]
    np.testing.assert_array_equal(fits[0].W_, fits[1].W_)
    assert fits[0].generalization_bound_() == fits[1].generalization_bound_()
    assert not np.array_equal(fits[0].W_, fits[2].W_)


def test_global_state_is_untouched(small):
    X, y = small
    torch.manual_seed(5)
    numpy_generator = check_random_state(None)
    before = torch.get_rng_state(), numpy_generator.get_state()[1].copy(), torch.get_num_threads()
    clf = make_classifier(noise_std=0.1, early_stopping=True, n_threads=1).fit(X, y)
    clf.predict(X)
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], numpy_generator.get_state()[1])
    assert before[2] == torch.get_num_threads()


def test_thread_count_is_set_during_fit_and_predict_only(small):
    seen = []

    class Watch(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(torch.get_num_threads())

    before = torch.get_num_threads()
    make_classifier(n_threads=before + 1, callbacks=[Watch()]).fit(*small)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


# Weights


def test_rows_of_weight_zero_are_left_out_and_equal_weights_change_nothing(small):
    X, y = small
    sample_weight = np.r_[np.zeros(5), np.full(55, 2.5)]
    clf = make_classifier().fit(X, y, sample_weight)
    expected = make_classifier().fit(X[5:], y[5:])
    np.testing.assert_array_equal(clf.W_, expected.W_)
    assert len(clf._statistics.clean.margins) == 55


def test_class_weight_is_a_sample_weight(small):
    X, y = small
    by_class = make_classifier(class_weight={0: 1.0, 1: 2.0, 2: 5.0}).fit(X, y)
    by_sample = make_classifier().fit(X, y, np.array([1.0, 2.0, 5.0])[y])
    np.testing.assert_allclose(by_class.W_, by_sample.W_, rtol=1e-12)
    report = str(by_class.bound_report_())
    assert "the risk is the unweighted one" in report


def test_warm_start_goes_on_and_checks_what_it_goes_on_from(small):
    X, y = small
    clf = make_classifier(warm_start=True, max_iter=1, optimizer="sgd", learning_rate=1e-300)
    first = clf.fit(X, y).W_
    np.testing.assert_allclose(clf.fit(X, y).W_, first, atol=1e-290)
    afresh = clf.set_params(warm_start=False, random_state=1).fit(X, y).W_
    assert not np.allclose(afresh, first)
    clf.set_params(warm_start=True)
    before, copy = clf.W_, clf.W_.copy()
    clf.set_params(beta_w=0.1).fit(X, y)
    np.testing.assert_array_equal(before, copy)
    assert clf.beta_w_ <= 0.1
    with pytest.raises(ValueError, match="classes of the previous fit"):
        clf.fit(X, y + 1)
    with pytest.raises(ValueError, match="hidden_size"):
        clf.set_params(hidden_size=7).fit(X, y)


# Constraints

BETAS = [
    {"beta_u": 0.7, "beta_w": 0.9, "beta_v": 1.3},
    {"beta_u": (0.5, 0.2), "beta_w": (0.9, 0.1), "beta_v": (0.3, 0.6)},
    {"beta_u": 0.7, "beta_w": 1.0, "beta_v": 0.5, "unit_types": 2},
    {"beta_w": 0.0},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("betas", BETAS, ids=str)
def test_returned_weights_are_in_the_constraint_set(small, dtype, betas):
    X, y = small
    clf = make_classifier(**betas, learning_rate=0.1).fit(X.astype(dtype), y)
    for name, weight in zip("uwv", weights(clf), strict=True):
        beta, reached = betas.get(f"beta_{name}"), getattr(clf, f"beta_{name}_")
        if isinstance(beta, tuple):
            assert (np.maximum(weight, 0).sum(1) <= beta[0]).all()
            assert (np.maximum(-weight, 0).sum(1) <= beta[1]).all()
            assert isinstance(reached, tuple)
        else:
            assert reached == pytest.approx(np.abs(weight).astype(float).sum(1).max())
            if beta is not None:
                assert (np.abs(weight).sum(1) <= beta).all()
                assert reached <= beta


def test_two_unit_types_are_not_connected(small):
    clf = make_classifier(unit_types=2, hidden_size=5, max_iter=20).fit(*small)
    signs = np.array([1, 1, 1, -1, -1])
    assert (clf.U_ * signs[:, None] >= 0).all()
    assert (clf.V_ * signs >= 0).all()
    assert (clf.W_ >= 0).all()
    assert (clf.W_[:3, 3:] == 0).all()
    assert (clf.W_[3:, :3] == 0).all()
    assert clf.W_.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "params", [{}, {"noise_std": 0.3}, {"early_stopping": True, "noise_std": 0.1}], ids=str
)
def test_fisher_rao_norm_is_within_its_radius(small, dtype, params):
    X, y = small
    free = make_classifier(**params).fit(X.astype(dtype), y).fisher_rao_norm_()
    radius = free / 3
    clf = make_classifier(fisher_rao_max=radius, **params).fit(X.astype(dtype), y)
    assert 0.9 * radius < clf.fisher_rao_norm_() <= radius


# Bound methods


def test_paper_means_theorem_3_exactly_when_there_was_noise(small, fitted):
    quiet = make_classifier().fit(*small)
    assert quiet.generalization_bound_() == quiet.generalization_bound_(method="theorem2")
    assert fitted.generalization_bound_() == fitted.generalization_bound_(method="theorem3")
    assert fitted.generalization_bound_() != fitted.generalization_bound_(method="theorem2")


def test_bound_methods_evaluate_the_bounds_on_the_statistics(fitted):
    report = fitted.bound_report_()
    assert [bound.name for bound in report] == [
        name for name in BOUNDS if name not in ("localized", "holdout", "occam", "pac_bayes")
    ]
    for bound in report:
        value = BOUNDS[bound.name](fitted._statistics, fitted._setting).value
        assert fitted.generalization_bound_(method=bound.name) == value
        assert bound.value == value


def test_margin_and_delta_of_a_call_override_the_parameters(fitted):
    bound = fitted.bound_report_(margin=0.25, delta=0.5)["theorem3"]
    assert (bound.margin, bound.delta) == (0.25, 0.5)
    assert any("fixed beforehand" in line for line in bound.assumptions if "alpha" in line)
    strict = fitted.generalization_bound_(delta=0.01)
    assert strict > fitted.generalization_bound_(delta=0.1)
    for wrong in ({"margin": -1.0}, {"margin": "wide"}, {"delta": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            fitted.generalization_bound_(**wrong)


def test_margin_and_delta_are_read_when_a_bound_is_asked_for(small):
    clf = make_classifier().fit(*small)
    fresh = clf.generalization_bound_(margin=2.0, delta=0.2)
    assert clf.set_params(margin=2.0, delta=0.2).generalization_bound_() == fresh


def test_unknown_and_inapplicable_methods(small, fitted):
    with pytest.raises(ValueError, match=r"'theorem9' is unknown.*'theorem2'"):
        fitted.generalization_bound_(method="theorem9")
    quiet = make_classifier().fit(*small)
    with pytest.raises(ValueError, match=r"noise_std is 0.*theorem2"):
        quiet.generalization_bound_(method="theorem3")
    tanh = make_classifier(activation="tanh").fit(*small)
    covering = ["peeling", "trivial", "zhang2018", "chen2019"]
    with pytest.raises(ValueError, match=f"relu' only.*that apply: {', '.join(covering)}$"):
        tanh.generalization_bound_()
    report = tanh.bound_report_(simultaneous=True)
    assert [bound.name for bound in report] == covering
    assert len(report.omitted) == len(BOUNDS) - len(covering)


def test_report_shares_delta_among_its_rows_when_they_hold_together(fitted):
    alone, together = fitted.bound_report_(), fitted.bound_report_(simultaneous=True)
    assert len(together) == len(alone) > 2
    share = fitted.delta / sum(bound.kind != "order_only" for bound in together)
    for bound in together:
        assert bound.value == fitted.generalization_bound_(method=bound.name, delta=share)
        if bound.kind == "order_only":
            assert bound.delta is None
        else:
            assert bound.delta == share
            assert bound.value > alone[bound.name].value
    assert together.delta == pytest.approx(fitted.delta)


def test_report_of_one_bound_by_name(fitted):
    assert [bound.name for bound in fitted.bound_report_(methods="theorem2")] == ["theorem2"]
    names = [bound.name for bound in fitted.bound_report_(methods=["theorem3", "theorem2"])]
    assert names == ["theorem3", "theorem2"]


def test_report_errors(fitted, small):
    X, y = small
    report = fitted.bound_report_(X[1:], y[1:])
    assert report.test_error == pytest.approx(1 - fitted.score(X[1:], y[1:]))
    assert report.train_error == pytest.approx(1 - fitted.score(X, y))
    with pytest.raises(ValueError, match="go together"):
        fitted.bound_report_(X)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_fisher_rao_norms(small, activation):
    X, y = small
    labels = np.array(["a", "b", "c"])[y]
    clf = make_classifier(activation=activation).fit(X, labels)
    U, W, V = map(torch.from_numpy, weights(clf))
    network = RecurrentNetwork(U, W, V, activation)
    linearized = fisher_rao_norm(U, W, V, [torch.from_numpy(X)])
    gradient = gradient_norm(network, torch.from_numpy(X), torch.from_numpy(y))
    assert clf.fisher_rao_norm_() == pytest.approx(linearized)
    assert clf.fisher_rao_norm_(X) == pytest.approx(linearized)
    assert clf.fisher_rao_norm_(form="gradient") == pytest.approx(gradient)
    assert clf.fisher_rao_norm_(X, labels, form="gradient") == pytest.approx(gradient)
    with pytest.raises(ValueError, match="form"):
        clf.fisher_rao_norm_(form="natural")
    with pytest.raises(ValueError, match="labels"):
        clf.fisher_rao_norm_(X, form="gradient")
    with pytest.raises(ValueError, match="'z'"):
        clf.fisher_rao_norm_(X, np.full(60, "z"), form="gradient")
    with pytest.raises(ValueError, match="without X"):
        clf.fisher_rao_norm_(y=labels)


def test_fisher_rao_norm_without_data_is_that_of_the_noisy_input(fitted, small):
    X, _ = small
    assert fitted.fisher_rao_norm_() == fitted._statistics.noisy.fisher_rao
    assert fitted.fisher_rao_norm_(X) == pytest.approx(fitted._statistics.clean.fisher_rao)


def test_input_bound_makes_theorem_3_a_certificate_without_an_eigenvalue(small):
    X, y = small
    params = {"noise_std": 0.1, "beta_u": 1.0, "beta_w": 0.9, "beta_v": 1.0}
    known = {"input_bound": float(np.abs(X).max()), "min_eigenvalue": 0.0, "margin": 1.0}
    assert make_classifier(**params).fit(X, y).bound_report_()["theorem3"].kind == "plug_in"
    clf = make_classifier(**params, **known).fit(X, y)
    assert clf.bound_report_()["theorem3"].kind == "certified"


def test_second_moment_is_computed_once_per_data_set(small, tmp_path, monkeypatch):
    X, y = small
    first = make_classifier(memory=str(tmp_path)).fit(X, y)
    monkeypatch.setattr("sklearn_rnnbound.spectrum.scipy.linalg.svdvals", lambda *_, **__: 1 / 0)
    second = make_classifier(memory=str(tmp_path), beta_w=1.0).fit(X, y)
    assert second._statistics.min_eigenvalue == first._statistics.min_eigenvalue > 0
    with pytest.raises(ZeroDivisionError):
        make_classifier(memory=str(tmp_path)).fit(X + 1, y)


def test_html_representation_needs_no_bound(fitted):
    assert "RNNBoundClassifier" in fitted._repr_html_()


# Accuracy of the defaults


def median_accuracy(data, **params):
    X_train, X_test, y_train, y_test = data
    scores = [
        RNNBoundClassifier(random_state=seed, **params).fit(X_train, y_train).score(X_test, y_test)
        for seed in range(5)
    ]
    return np.median(scores)


@pytest.mark.slow
@pytest.mark.parametrize(("params", "accuracy"), [({}, 0.96), ({"beta_w": 1.0}, 0.92)])
def test_digits_accuracy_of_the_defaults(digits, params, accuracy):
    assert median_accuracy(digits, **params) >= accuracy


@pytest.mark.slow
@pytest.mark.parametrize("params", [{}, {"beta_w": 1.0}])
def test_japanese_vowels_accuracy_of_the_defaults(params):
    X_train, y_train, X_test, y_test = japanese_vowels()
    assert median_accuracy((X_train, X_test, y_train, y_test), **params) >= 0.95


def test_one_fit_of_the_defaults_on_digits(digits):
    X_train, X_test, y_train, y_test = digits
    clf = RNNBoundClassifier(random_state=0).fit(X_train, y_train)
    assert clf.score(X_test, y_test) > 0.95


@pytest.mark.parametrize("beta_w", [None, 1.0])
def test_one_fit_of_the_defaults_on_japanese_vowels(beta_w):
    X_train, y_train, X_test, y_test = japanese_vowels()
    clf = RNNBoundClassifier(beta_w=beta_w, random_state=0).fit(X_train, y_train)
    assert clf.score(X_test, y_test) > 0.93


@pytest.mark.parametrize("beta_w", [None, 1.0])
def test_a_sign_is_remembered_over_a_hundred_steps(beta_w):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = rng.normal(scale=0.02, size=(400, 120, 2)).astype(np.float32)
    X[:, 0, 0] = 2 * y - 1
    clf = RNNBoundClassifier(beta_w=beta_w, max_iter=60, random_state=0, min_eigenvalue=0.0)
    assert clf.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.85


class _Inflate(Callback):
    """Leaves the constraint set after the last projection."""

    def on_train_end(self, net, **kwargs):
        with torch.no_grad():
            net.module_.weights[2].mul_(1e6)


@pytest.mark.parametrize("radius", [2.0, (1.0, 1.0)])
def test_no_callback_moves_the_weights_out_of_the_constraints(radius, small):
    clf = make_classifier(beta_v=radius, callbacks=[_Inflate()]).fit(*small)
    assert np.sum(clf.beta_v_) <= np.sum(radius)
    assert np.abs(clf.V_).sum(1).max() <= np.sum(radius)


def test_an_impossible_smallest_eigenvalue_is_named(small):
    X, y = small
    with pytest.warns(UserWarning, match=r"min_eigenvalue=1e\+06 .* mean squared entry") as caught:
        make_classifier(min_eigenvalue=1e6).fit(X, y)
    assert caught[0].filename == __file__
    # A true one may lie above a sample's mean square.
    make_classifier(min_eigenvalue=1.1 * float(np.square(X).mean())).fit(X, y)


def test_the_paper_by_two_names_is_one_row(fitted):
    report = fitted.bound_report_(methods=["paper", "theorem3", "peeling"], simultaneous=True)
    assert [bound.name for bound in report] == ["theorem3", "peeling"]
    assert report["peeling"].delta == 0.025


@pytest.mark.parametrize("method", [["peeling"], 3, "theorem9"])
def test_a_method_that_is_no_name_is_named(method, fitted):
    with pytest.raises(ValueError, match=r"is unknown; there are 'paper', 'theorem2'"):
        fitted.generalization_bound_(method=method)


def test_simultaneous_is_yes_or_no(fitted):
    with pytest.raises(ValueError, match="'simultaneous' parameter"):
        fitted.bound_report_(simultaneous="no")


def test_a_curve_keeps_its_margin_so_that_its_rates_show(small):
    X, y = small
    clf = make_classifier(beta_u=1.0, beta_w=0.9, beta_v=1.0, min_eigenvalue=0.0).fit(X, y)
    methods = ["peeling", "theorem2", "trivial", "zhang2018"]
    curve = clf.bound_curve_(X, y, methods=methods)
    for name in methods:
        assert len({report[name].margin for report in curve.reports}) == 1
    # On all data it is the bound of the report, for which the grid was paid.
    assert curve.reports[-1].bounds == clf.bound_report_(methods=methods).bounds
    assert {b.delta for report in curve.reports for b in report} == {0.05, None}
    parts = [report["trivial"].term("complexity") for report in curve.reports]
    # A mean over nested parts of one sample: no rate in n.
    assert max(parts) < 1.5 * min(parts)
