"""Saved estimators are the same after loading; other files are refused and run no code."""

import copy
import importlib
import json
import os
import pickle
import sys
import zipfile

import numpy as np
import pytest
import skops.io
import torch
from conftest import make_classifier
from numpy.random import RandomState
from sklearn import config_context
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import EpochTimer

from sklearn_rnnbound import RNNBoundClassifier, load, save
from sklearn_rnnbound import io as rnnbound_io
from sklearn_rnnbound.datasets import WordVectors
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder

CLASSIFIER = "sklearn_rnnbound.classifier.RNNBoundClassifier"


def reloaded(estimator, folder):
    """The estimator, saved and loaded."""
    save(estimator, folder / "saved.skops")
    return load(folder / "saved.skops")


def repickled(estimator, folder):
    """The estimator, pickled and unpickled."""
    return pickle.loads(pickle.dumps(estimator))


def labelled(n_classes, labels, dtype=np.float64):
    """A small problem: X (45, 5, 2) and y."""
    rng = np.random.default_rng(3)
    numbers = np.arange(45) % n_classes
    X = rng.normal(size=(45, 5, 2)) + 1.5 * numbers[:, None, None]
    return X.astype(dtype), np.asarray(labels)[numbers]


THREE = labelled(3, [5, 7, 11])
TWO = labelled(2, ["no", "yes"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory, fitted):
    """A file of a classifier with noise."""
    path = tmp_path_factory.mktemp("saved") / "a.skops"
    save(fitted, path)
    return path


@pytest.fixture
def scratch(tmp_path):
    """Name of a file that tests may overwrite."""
    return tmp_path / "changed.skops"


# Round trips

CASES = {
    "float32 and text": (labelled(3, ["a", "bb", "c"], np.float32), {"noise_std": 0.1}),
    "pairs of radii": (THREE, {"beta_u": (1.0, 0.5), "beta_w": (0.5, 0.5), "beta_v": (2.0, 0.0)}),
    "two types": (TWO, {"unit_types": 2, "beta_w": 0.5, "loss": "ramp", "margin": 0.5}),
    "bool labels": (labelled(2, [False, True]), {"activation": "tanh", "min_eigenvalue": 0.1}),
    "object labels": (labelled(2, np.array(["x", "y"], object)), {"fisher_rao_max": 0.5}),
    "weights and validation": (
        THREE,
        {"class_weight": {5: 1.0, 7: 2.0, 11: 0.5}, "early_stopping": True},
    ),
    "prior": (THREE, {"prior": "unfrozen", "noise": "uniform", "noise_std": 0.1}),
    "box": (TWO, {"prior": "frozen", "box_width": 0.3}),
    "numbers of NumPy": (
        THREE,
        {"unit_types": np.int64(2), "margin": np.float32(0.5), "random_state": RandomState(3)},
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A fitted classifier with its data."""
    (X, y), params = CASES[request.param]
    if "prior" in params:
        prior = make_classifier().fit(-X, y)
        frozen = params["prior"] == "frozen"
        params = {**params, "prior": FrozenEstimator(prior) if frozen else prior}
    return make_classifier(**params).fit(X, y), X, y


@pytest.mark.parametrize("road", [reloaded, repickled])
def test_classifier_comes_back_bit_by_bit(case, road, tmp_path):
    clf, X, y = case
    same = road(clf, tmp_path)
    for name in ("predict", "predict_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(same, name)(X), getattr(clf, name)(X))
    new = X[::-1] + 0.25, y[::-1]
    data = {"X_train": X, "y_train": y}
    report, expected = (one.bound_report_(*new, **data) for one in (same, clf))
    assert report.bounds == expected.bounds
    assert str(report) == str(expected)
    assert same.fisher_rao_norm_() == clf.fisher_rao_norm_()
    assert vars(same).keys() == vars(clf).keys()
    for name in ("U_", "W_", "V_", "classes_"):
        np.testing.assert_array_equal(getattr(same, name), getattr(clf, name))
        assert getattr(same, name).dtype == getattr(clf, name).dtype
    for name in ("n_iter_", "loss_curve_", "best_loss_", "validation_scores_", "beta_w_"):
        assert getattr(same, name) == getattr(clf, name)
    for name, value in clf.get_params(deep=False).items():
        assert name in ("prior", "random_state") or getattr(same, name) == value


def test_warm_start_goes_on_after_loading(tmp_path):
    X, y = THREE
    clf = make_classifier(warm_start=True, noise_std=0.1).fit(X, y)
    again = reloaded(clf, tmp_path).fit(X, y)
    np.testing.assert_array_equal(again.U_, clf.fit(X, y).U_)


def test_names_of_columns_come_back(tmp_path):
    pd = pytest.importorskip("pandas")
    X, y = THREE
    table = pd.DataFrame(X.reshape(45, 10)).add_prefix("c")
    clf = reloaded(make_classifier(step_size=2).fit(table, y), tmp_path)
    assert list(clf.feature_names_in_) == list(table.columns)


def test_parameters_set_after_fit_change_no_bound(tmp_path):
    X, y = TWO
    clf = make_classifier(noise_std=0.5, beta_w=0.5).fit(X, y)
    expected = str(clf.bound_curve_(X, y, methods=["theorem3", "peeling"]))
    clf.set_params(noise_std=0.0, beta_w=3.0, hidden_size=9)
    loaded = reloaded(clf, tmp_path)
    assert str(loaded.bound_curve_(X, y, methods=["theorem3", "peeling"])) == expected


@pytest.mark.parametrize("road", [reloaded, repickled])
def test_metadata_requests_come_back(road, tmp_path):
    with config_context(enable_metadata_routing=True):
        clf = make_classifier().set_fit_request(sample_weight="counts").fit(*TWO)
        requests = road(clf, tmp_path).get_metadata_routing()
        assert requests.fit.requests == {"sample_weight": "counts"}
        assert str(requests) == str(clf.get_metadata_routing())


def test_unfitted_classifier_comes_back_with_paths_as_text(tmp_path):
    clf = make_classifier(beta_w=(0.5, 0.25), checkpoint=tmp_path)
    params = reloaded(clf, tmp_path).get_params()
    assert params == {**clf.get_params(), "checkpoint": str(tmp_path)}


def test_missing_device_falls_back_to_the_cpu(tmp_path):
    X, y = TWO
    clf = make_classifier().fit(X, y)
    expected = clf.predict_proba(X)
    clf.device = "cuda:9"
    with torch.inference_mode():
        loaded = reloaded(clf, tmp_path)
    assert (loaded.device_, loaded.device) == ("cpu", "cuda:9")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert loaded.set_params(device="cpu", warm_start=True).fit(X, y).n_iter_ == 8


def test_pipeline_of_scikit_learn_comes_back(tmp_path):
    X, y = THREE
    scaler, tanh = StandardScaler(), FunctionTransformer(np.tanh, validate=True)
    clf = make_classifier(step_size=2, noise_std=0.1)
    pipeline = make_pipeline(scaler, tanh, clf).fit(X.reshape(45, 10), y)
    same = reloaded(pipeline, tmp_path)
    X = X[::-1].reshape(45, 10)
    np.testing.assert_array_equal(same.predict_proba(X), pipeline.predict_proba(X))
    assert str(same[-1].bound_report_()) == str(pipeline[-1].bound_report_())


WORDS = ["good film", "bad film", "so good", "bad, bad", "a good plot", "no plot"] * 4
# Two of the words are hard to write as text.
VECTORS = WordVectors(["good", "bad", "\ud800", 'a"\\b'], np.arange(8).reshape(4, 2))


@pytest.mark.parametrize("road", [reloaded, repickled])
@pytest.mark.parametrize(
    ("transformer", "X"),
    [
        (SequencePadder(2, keep="last"), [np.full((length, 2), length) for length in (3, 1, 5)]),
        (SequenceScaler(step_size=2), np.arange(36.0).reshape(9, 4)),
        (WordVectorEncoder(VECTORS, max_words=3), WORDS),
        (WordVectorEncoder({"good": [1.0, 2.0], "bad": [0.0, 1.0]}), WORDS),
        (WordVectorEncoder(supervised="log_odds", dtype=np.dtype(float)), WORDS),
    ],
)
def test_transformer_comes_back(transformer, X, road, tmp_path):
    transformer = copy.deepcopy(transformer)
    unfitted = road(transformer, tmp_path)
    y = np.arange(len(X)) % 2
    expected = transformer.fit(X, y).transform(X)
    same = road(transformer, tmp_path)
    assert vars(same).keys() == vars(transformer).keys()
    assert same.transform(X).dtype == expected.dtype
    for one in (same, unfitted.fit(X, y), same.fit(X, y)):
        np.testing.assert_array_equal(one.transform(X), expected)


def test_large_vocabulary_takes_little_room(tmp_path):
    words = WordVectors([f"word{i}" for i in range(5000)], np.ones((5000, 3)))
    encoder = WordVectorEncoder(words, max_words=2).fit(["a"])
    assert reloaded(encoder, tmp_path).vocabulary_ == encoder.vocabulary_
    assert (tmp_path / "saved.skops").stat().st_size < 500_000


def test_other_formats_are_refused_by_number(fitted):
    for number in (1, 3, None):
        with pytest.raises(ValueError, match=f"saved in format {number}, .* reads format 2"):
            RNNBoundClassifier().__setstate__({**fitted.__getstate__(), "_format": number})


def test_files_name_no_private_class(saved, fitted):
    assert skops.io.get_untrusted_types(file=saved) == [CLASSIFIER]
    assert pickle.dumps(fitted).count(b"sklearn_rnnbound.") == 1


def test_trusted_types_exist():
    for path in rnnbound_io._TRUSTED:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type)


# Saving


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_failed_save_leaves_what_was_there(error, tmp_path, monkeypatch, fitted):
    path = tmp_path / "model.skops"
    save(make_classifier(), path)
    before = path.read_bytes()

    def fail(descriptor):
        raise error("here")

    monkeypatch.setattr(os, "fsync", fail)
    for target in (path, tmp_path / "new.skops"):
        with pytest.raises(error, match="here"):
            save(fitted, target)
    assert os.listdir(tmp_path) == ["model.skops"]
    assert path.read_bytes() == before


def test_save_keeps_the_mode_and_follows_links(tmp_path, fitted):
    path, link = tmp_path / "model.skops", tmp_path / "link"
    path.write_text("another file")
    path.chmod(0o640)
    link.symlink_to(path)
    save(fitted, link)
    assert link.is_symlink()
    assert isinstance(load(path), RNNBoundClassifier)
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link", "model.skops"]


class Own(RNNBoundClassifier):
    """A class that this package does not know."""


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ({"a": 1}, "estimator must be an estimator"),
        (Own(), r"\.Own.*joblib\.dump"),
        (RNNBoundClassifier(callbacks=[EpochTimer()]), "EpochTimer.*plain values"),
        (FunctionTransformer(lambda X: X), "lambda.*a pipeline the steps"),
        (FunctionTransformer(json.loads), r"json\.loads"),
        (RandomForestClassifier(2).fit(np.eye(4), [0, 1, 0, 1]), r"_tree\.Tree"),
        (RNNBoundClassifier(class_weight={False: 1.0, True: 2.0}), "bool keys: use 0 and 1"),
    ],
)
def test_what_cannot_be_loaded_is_not_saved(estimator, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        save(estimator, tmp_path / "a.skops")
    assert not os.listdir(tmp_path)


def test_a_search_is_not_saved(tmp_path):
    search = GridSearchCV(make_classifier(), {"beta_w": [0.5, 1.0]}, cv=2).fit(*TWO)
    with pytest.raises(TypeError, match="best_estimator_"):
        save(search, tmp_path / "a.skops")


def test_errors_of_the_system_pass(tmp_path, fitted):
    with pytest.raises(FileNotFoundError):
        save(fitted, tmp_path / "nowhere" / "a.skops")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
    with pytest.raises(IsADirectoryError):
        save(fitted, tmp_path)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("call", [lambda: save(RNNBoundClassifier(), "a"), lambda: load("a")])
def test_missing_skops_is_named_with_its_extra(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ImportError, match=r"sklearn-rnnbound\[save\]"):
        call()


# Damaged files


def node(loader, kind, **entries):
    module, _, name = kind.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": name, **entries}


def json_node(value):
    return node("JsonNode", "builtins.str", content=json.dumps(value))


def list_node(nodes, kind="list"):
    return node(f"{kind.capitalize()}Node", f"builtins.{kind}", content=nodes)


def dict_node(entries):
    types = [node("TypeNode", "builtins.str") for _ in entries]
    return node("DictNode", "builtins.dict", content=entries, key_types=list_node(types))


def object_node(kind, entries):
    return node("ObjectNode", kind, content=dict_node(entries))


def unpacked(path):
    """Tree and other members of a file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop("schema.json")), members


def packed(tree, members, path):
    """Write a file of a tree and other members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
        archive.writestr("schema.json", tree if isinstance(tree, str) else json.dumps(tree))


def refused(path, message="cannot be loaded"):
    """Check that a file is refused with an error that names it."""
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"PK\x05\x06" + bytes(18), pickle.dumps(RNNBoundClassifier())],
)
def test_other_files_are_refused(content, scratch):
    scratch.write_bytes(content)
    refused(scratch)


def test_truncated_files_are_refused(saved, scratch):
    content = saved.read_bytes()
    for size in np.linspace(1, len(content) - 1, 12, dtype=int):
        scratch.write_bytes(content[:size])
        refused(scratch)


def test_files_with_a_flipped_bit_are_refused_or_the_same(saved, scratch, fitted, small):
    content = saved.read_bytes()
    # Some anywhere, some in the directory at the end, which no checksum guards.
    places = [*np.linspace(0, len(content) - 1, 40, dtype=int), *range(-900, 0, 45)]
    n_refused = 0
    for number, place in enumerate(places):
        changed = bytearray(content)
        changed[place] ^= 1 << number % 8
        scratch.write_bytes(changed)
        try:
            loaded = load(scratch)
        except ValueError:
            n_refused += 1
        else:
            scores = loaded.decision_function(small[0])
            np.testing.assert_array_equal(scores, fitted.decision_function(small[0]))
            assert str(loaded.bound_report_()) == str(fitted.bound_report_())
    assert n_refused > 30


def as_npy(dtype, shape):
    """An array in NumPy's format whose header says something of itself."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(32)


@pytest.mark.parametrize(
    "member",
    [b"", b"\x93NUMPY", as_npy("<f8", (5,)), as_npy("<f8", (10**15,)), as_npy("|O", (4,))],
)
def test_arrays_that_are_not_what_their_header_says_are_refused(member, scratch):
    save(StandardScaler().fit(np.eye(4)), scratch)
    tree, members = unpacked(scratch)
    file = tree["content"]["content"]["mean_"]["file"]
    packed(tree, {**members, file: as_npy("<f8", (4,))}, scratch)
    np.testing.assert_array_equal(load(scratch).mean_, np.zeros(4))
    packed(tree, {**members, file: member}, scratch)
    refused(scratch)


NO_ESTIMATOR = json.dumps({**dict_node({"a": json_node(1)}), "protocol": 2})


@pytest.mark.parametrize("schema", ["", "{}", "7", "[" * 100_000, '{"protocol": 2}', NO_ESTIMATOR])
def test_trees_that_are_none_are_refused(schema, scratch):
    packed(schema, {}, scratch)
    refused(scratch)


# Hostile files


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """A file that exists once `planted_module` was imported."""
    trace = tmp_path / "trace"
    lines = f"from pathlib import Path\nPath({str(trace)!r}).touch()\n"
    (tmp_path / "planted_module.py").write_text(lines + "def run(*args): return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted_module", raising=False)
    return trace


HARMFUL = {
    "object": object_node("planted_module.run", {}),
    "private class": object_node("sklearn_rnnbound.certification.report.BoundReport", {}),
    "function": node("FunctionNode", "planted_module.run"),
    "command": node("FunctionNode", "posix.system"),
    "function of this package": node("FunctionNode", "sklearn_rnnbound.io.save"),
    "type": node("TypeNode", "planted_module.run"),
    "list": node("ListNode", "planted_module.run", content=[]),
    "dictionary": {**dict_node({}), "__module__": "planted_module"},
    "generator": node("RandomStateNode", "planted_module.run", content=dict_node({})),
    "function of numpy.random": node(
        "RandomGeneratorNode",
        "numpy.random._generator.Generator",
        content={"bit_generator": dict_node({"bit_generator": json_node("seed")})},
    ),
}
NO_ARGUMENTS = {"args": list_node([], "tuple")}
for kind in ("ConstructorFromReduce", "Loss", "Tree", "Partial", "Method", "OperatorFunc", "New"):
    HARMFUL[kind] = node(
        f"{kind}Node", "planted_module.run", content=dict_node({}), __reduce__=NO_ARGUMENTS
    )


@pytest.mark.parametrize("harmful", HARMFUL.values(), ids=HARMFUL)
@pytest.mark.parametrize("place", ["", "_certifier"])
def test_no_code_of_a_file_is_run(harmful, place, saved, scratch, trace):
    tree, members = unpacked(saved)
    if place:
        tree["content"]["content"][place] = harmful
    else:
        tree = {**harmful, "protocol": 2}
    before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 - a file may not touch it
    packed(tree, members, scratch)
    refused(scratch, "(?i)trusted")
    assert not trace.exists()
    assert "planted_module" not in sys.modules
    after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    np.testing.assert_equal(after, before)


def test_the_planted_module_leaves_a_trace(trace):
    importlib.import_module("planted_module")
    del sys.modules["planted_module"]
    assert trace.exists()


def test_names_of_members_lead_nowhere(saved, scratch):
    secret = scratch.with_name("secret.npy")
    np.save(secret, np.ones(3))
    tree, members = unpacked(saved)
    for name in (str(secret), "../secret.npy"):
        array = node("NdArrayNode", "numpy.ndarray", type="numpy", file=name)
        tree["content"]["content"]["verbose"] = array
        packed(tree, members, scratch)
        refused(scratch, "secret")
    packed(tree, {**members, "../secret.npy": b"no array"}, scratch)
    refused(scratch)
    np.testing.assert_array_equal(np.load(secret), np.ones(3))


@pytest.mark.parametrize(
    ("place", "harmless"),
    [
        ("_certifier", json_node(1)),
        ("_certifier.weights", dict_node({})),
        ("_certifier.cell.name", json_node("planted_module.run")),
        ("_certifier.statistics.clean", dict_node({})),
        ("_format", json_node(1)),
    ],
)
def test_records_that_do_not_fit_are_refused(place, harmless, saved, scratch, trace):
    tree, members = unpacked(saved)
    *above, key = place.split(".")
    owner = tree["content"]
    for name in above:
        owner = owner["content"][name]
    owner["content"][key] = harmless
    packed(tree, members, scratch)
    refused(scratch)
    assert not trace.exists()
