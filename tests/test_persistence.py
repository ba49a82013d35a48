"""Saved estimators: the same after loading, whatever the version; refused when not sound."""

import copy
import errno
import importlib
import io
import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pytest
import skops.io
import torch
from conftest import make_classifier
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import Birch
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import EpochTimer

import sklearn_rnnbound
from sklearn_rnnbound import BoundSearch, RNNBoundClassifier, load, persistence, save
from sklearn_rnnbound.datasets import WordVectors
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder

FIXTURES = Path(__file__).parent / "fixtures"
many = settings(max_examples=3000, deadline=None)


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


def prior_of(problem, **params):
    """A classifier that was fitted on other data of the same kind."""
    X, y = problem
    return make_classifier(**params).fit(-X, y)


CASES = {
    "float64, many classes": (THREE, {}),
    "float32": (labelled(3, ["a", "bb", "c"], np.float32), {"noise_std": 0.1}),
    "pairs of radii": (THREE, {"beta_u": (1.0, 0.5), "beta_w": (0.5, 0.5), "beta_v": (2.0, 0.0)}),
    "two types": (TWO, {"unit_types": 2, "beta_w": 0.5, "loss": "ramp", "margin": 0.5}),
    "bool labels": (labelled(2, [False, True]), {"activation": "tanh", "noise_std": 0.2}),
    "object labels": (labelled(2, np.array(["x", "y"], object)), {"noise": "laplace"}),
    "dates as labels": (labelled(2, np.array(["2020", "2021"], "M8[Y]")), {}),
    "early stopping": (THREE, {"early_stopping": True, "validation_fraction": 0.3}),
    "known beforehand": (
        THREE,
        {"input_bound": 20.0, "min_eigenvalue": 0.1, "delta": 0.01, "margin": 1.0},
    ),
    "rescaled": (TWO, {"fisher_rao_max": 0.5, "noise_std": 0.1, "noise": "uniform"}),
    "prior": (THREE, {"prior": lambda: prior_of(THREE)}),
    "box": (
        TWO,
        {"prior": lambda: FrozenEstimator(prior_of(TWO)), "box_width": 0.3, "beta_u": 50.0},
    ),
    "box, types": (
        TWO,
        {"prior": lambda: prior_of(TWO, unit_types=2), "box_width": 0.3, "unit_types": 2},
    ),
    "weights of classes": (THREE, {"class_weight": {5: 1.0, 7: 2.0, 11: 0.5}}),
    "numpy's numbers": (
        THREE,
        {
            "unit_types": np.int64(2),
            "noise_std": np.float32(0.5),
            "activation": np.str_("relu"),
            "random_state": np.random.RandomState(3),
        },
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A fitted classifier with its data."""
    (X, y), params = CASES[request.param]
    if "prior" in params:
        params = {**params, "prior": params["prior"]()}
    return make_classifier(**params).fit(X, y), X, y


@pytest.mark.parametrize("road", [reloaded, repickled, lambda clf, folder: copy.deepcopy(clf)])
def test_a_classifier_comes_back_to_the_last_bit(case, road, tmp_path):
    clf, X, y = case
    same = road(clf, tmp_path)
    for name in ("predict", "predict_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(same, name)(X), getattr(clf, name)(X))
    new = X[::-1] + 0.25, y[::-1]
    data = {"X_train": X, "y_train": y}
    report, expected = (one.bound_report_(*new, **data) for one in (same, clf))
    assert report.bounds == expected.bounds
    assert str(report) == str(expected)
    curve, expected = (one.bound_curve_(X, y, methods="peeling") for one in (same, clf))
    assert str(curve) == str(expected)
    assert same.fisher_rao_norm_() == clf.fisher_rao_norm_()
    assert same.fisher_rao_norm_(*new, form="gradient") == clf.fisher_rao_norm_(
        *new, form="gradient"
    )
    assert vars(same).keys() == vars(clf).keys()
    assert same.loss_curve_ == clf.loss_curve_
    for name in ("U_", "W_", "V_", "classes_"):
        assert getattr(same, name).dtype == getattr(clf, name).dtype
    for name in ("n_iter_", "best_loss_", "validation_scores_", "beta_w_", "n_features_in_"):
        assert getattr(same, name) == getattr(clf, name)
    others = {"prior", "random_state"}
    for name, value in clf.get_params(deep=False).items():
        assert name in others or getattr(same, name) == value


def test_a_classifier_goes_on_training_after_loading(tmp_path):
    X, y = THREE
    clf = make_classifier(warm_start=True, noise_std=0.1).fit(X, y)
    again = reloaded(clf, tmp_path).fit(X, y)
    np.testing.assert_array_equal(again.U_, clf.fit(X, y).U_)


def test_a_table_with_names_of_columns_comes_back(tmp_path):
    pd = pytest.importorskip("pandas")
    X, y = THREE
    table = pd.DataFrame(X.reshape(45, 10), columns=[f"c{i}" for i in range(10)])
    clf = reloaded(make_classifier(step_size=2).fit(table, y), tmp_path)
    assert list(clf.feature_names_in_) == list(table.columns)
    assert len(clf.predict(table)) == 45
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(table[table.columns[::-1]])


def test_parameters_that_were_set_after_fitting_change_no_bound(tmp_path):
    X, y = TWO
    clf = make_classifier(noise_std=0.5, beta_w=0.5).fit(X, y)
    expected = str(clf.bound_curve_(X, y, methods=["theorem3", "peeling"]))
    clf.set_params(noise_std=0.0, beta_w=3.0, hidden_size=9)
    loaded = reloaded(clf, tmp_path)
    assert str(loaded.bound_curve_(X, y, methods=["theorem3", "peeling"])) == expected


def test_weights_that_were_mapped_into_memory_can_be_saved(tmp_path):
    X, y = TWO
    clf = make_classifier().fit(X, y)
    joblib.dump(clf, tmp_path / "mapped")
    mapped = joblib.load(tmp_path / "mapped", mmap_mode="r")
    assert isinstance(mapped.U_, np.memmap)
    np.testing.assert_array_equal(reloaded(mapped, tmp_path).predict(X), clf.predict(X))


def test_weights_of_the_other_byte_order_are_read():
    X, y = TWO
    clf = make_classifier().fit(X, y)
    state = clf.__getstate__()
    swapped = {
        name: value.astype(value.dtype.newbyteorder("S"))
        for name, value in state.items()
        if isinstance(value, np.ndarray)
    }
    other = RNNBoundClassifier()
    other.__setstate__({**state, **swapped})
    np.testing.assert_array_equal(other.predict_proba(X), clf.predict_proba(X))


def test_an_unfitted_classifier_comes_back(tmp_path):
    clf = make_classifier(beta_w=(0.5, 0.25), checkpoint=tmp_path)
    params = reloaded(clf, tmp_path).get_params()
    assert params == {**clf.get_params(), "checkpoint": str(tmp_path)}


def test_loading_where_the_device_is_missing_and_in_inference_mode(tmp_path):
    X, y = TWO
    clf = make_classifier().fit(X, y)
    expected = clf.predict_proba(X)
    clf.device = "cuda:9"
    with torch.inference_mode():
        loaded = reloaded(clf, tmp_path)
    assert loaded.device_ == "cpu"
    assert loaded.device == "cuda:9"
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert loaded.set_params(device="cpu", warm_start=True).fit(X, y).n_iter_ == 8


WORDS = ["good film", "bad film", "so good", "bad, bad", "a good plot", "no plot"] * 4
VECTORS = WordVectors(["good", "bad", "filmé", "\ud800", 'a"\\b'], np.arange(10).reshape(5, 2))
SERIES = [np.full((length, 2), length + 1.0) for length in (3, 1, 5, 4)]


@pytest.mark.parametrize("road", [reloaded, repickled])
@pytest.mark.parametrize(
    ("transformer", "X"),
    [
        (SequencePadder(), SERIES),
        (SequencePadder(2, keep="last"), SERIES),
        (SequenceScaler(), np.random.default_rng(0).normal(size=(9, 4, 2))),
        (SequenceScaler(step_size=2), np.random.default_rng(0).normal(size=(9, 4))),
        (SequenceScaler(with_std=False), np.ones((4, 3, 2), np.float32)),
        (WordVectorEncoder(VECTORS, max_words=3), WORDS),
        (WordVectorEncoder({"good": [1.0, 2.0], "bad": [0.0, 1.0]}, max_words=2), WORDS),
        (WordVectorEncoder(supervised="logistic", n_segments=2, dtype=np.dtype(float)), WORDS),
        (WordVectorEncoder(supervised="log_odds", max_words=None, memmap_folder=None), WORDS),
    ],
)
def test_a_transformer_comes_back(transformer, X, road, tmp_path):
    transformer = copy.deepcopy(transformer)
    unfitted = road(transformer, tmp_path)
    assert repr(unfitted) == repr(transformer)
    y = np.arange(len(X)) % 2
    expected = transformer.fit(X, y).transform(X)
    same = road(transformer, tmp_path)
    assert vars(same).keys() == vars(transformer).keys()
    assert same.transform(X).dtype == expected.dtype
    for one in (same, unfitted.fit(X, y), same.fit(X, y)):
        np.testing.assert_array_equal(one.transform(X), expected)


def test_a_transformer_whose_fit_failed_can_be_pickled(tmp_path):
    scaler = SequenceScaler(step_size=2)
    with pytest.raises(ValueError, match="step_size"):
        scaler.fit(np.ones((4, 3)))
    assert vars(repickled(scaler, tmp_path)) == vars(scaler)


def test_a_large_vocabulary_takes_little_room(tmp_path):
    words = [f"word{i}" for i in range(5000)]
    encoder = WordVectorEncoder(WordVectors(words, np.ones((5000, 3))), max_words=2).fit(["a"])
    path = tmp_path / "words.skops"
    save(encoder, path)
    assert path.stat().st_size < 5000 * (12 + 8 + 2 * 20) + 10_000
    loaded = load(path)
    assert loaded.vocabulary_ == encoder.vocabulary_
    # One array, where the encoder had one.
    assert np.shares_memory(loaded.vectors.vectors, loaded.vectors_)


def test_paths_become_text(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("good 1.0\nbad -1.0\n")
    encoder = WordVectorEncoder(path, max_words=2, memmap_folder=tmp_path).fit(WORDS)
    loaded = reloaded(encoder, tmp_path)
    assert (loaded.vectors, loaded.memmap_folder) == (str(path), str(tmp_path))
    np.testing.assert_array_equal(loaded.transform(WORDS), encoder.transform(WORDS))


def test_a_pipeline_comes_back(tmp_path):
    X, y = THREE
    pipeline = make_pipeline(
        StandardScaler(),
        FunctionTransformer(np.tanh, validate=True),
        SequenceScaler(step_size=2),
        make_classifier(step_size=2, noise_std=0.1),
    ).fit(X.reshape(45, 10), y)
    same = reloaded(pipeline, tmp_path)
    X = X[::-1].reshape(45, 10)
    np.testing.assert_array_equal(same.predict_proba(X), pipeline.predict_proba(X))
    assert str(same[-1].bound_report_()) == str(pipeline[-1].bound_report_())


@pytest.mark.parametrize("road", [reloaded, repickled])
def test_requests_for_metadata_come_back(road, tmp_path):
    import sklearn

    with sklearn.config_context(enable_metadata_routing=True):
        clf = make_classifier().set_fit_request(sample_weight="counts").fit(*TWO)
        loaded = road(clf, tmp_path)
        assert loaded.get_metadata_routing().fit.requests == {"sample_weight": "counts"}
        assert str(loaded.get_metadata_routing()) == str(clf.get_metadata_routing())


# Files of former versions


@pytest.mark.parametrize("made", ["classifier", "pipeline"])
@pytest.mark.parametrize("number", range(2))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_files_of_every_format_are_read(number, made):
    loaded = load(FIXTURES / f"format_{number}_{made}.skops")
    said = json.loads((FIXTURES / f"format_{number}.json").read_text())[made]
    assert loaded.predict(said["X"]).tolist() == said["labels"]
    # Other processors may round exponentials and sums otherwise.
    np.testing.assert_allclose(
        loaded.decision_function(said["X"]), said["scores"], rtol=1e-12, atol=1e-14
    )
    clf = loaded[-1] if made == "pipeline" else loaded
    bounds = {bound.name: bound.value for bound in clf.bound_report_().bounds}
    assert bounds.keys() >= said["bounds"].keys()
    for name, value in said["bounds"].items():
        assert bounds[name] == pytest.approx(value, rel=1e-12)
    assert clf.fisher_rao_norm_() == pytest.approx(said["norm"], rel=1e-12)


def test_there_are_files_of_every_format():
    assert sklearn_rnnbound.state.FORMAT == 1
    assert len(list(FIXTURES.glob("format_*.skops"))) == 2 * 2


def test_pickles_of_format_0_are_read():
    clf = make_classifier(noise_std=0.1, early_stopping=True).fit(*THREE)
    state = {key: vars(clf)[key] for key in clf.__getstate__().keys() & vars(clf).keys()}
    # The objects themselves, as they were before there were formats.
    assert isinstance(state["_statistics"], sklearn_rnnbound.statistics.SampleStatistics)
    del state["checkpoint"]
    state["_evaluation_seed"] = clf.net_.evaluation_seed
    old = RNNBoundClassifier()
    old.__setstate__(state)
    assert str(old.bound_report_()) == str(clf.bound_report_())
    assert old.loss_curve_ == clf.loss_curve_
    assert old.checkpoint is None
    encoder = WordVectorEncoder(VECTORS, max_words=3).fit(WORDS)
    old = WordVectorEncoder()
    old.__setstate__(vars(encoder))
    np.testing.assert_array_equal(old.transform(WORDS), encoder.transform(WORDS))


@pytest.mark.parametrize("kind", [RNNBoundClassifier, SequencePadder, WordVectorEncoder])
def test_a_format_to_come_is_refused_by_name(kind):
    state = {**kind().__getstate__(), "_format": 2, "_version": "7.8.9"}
    with pytest.raises(ValueError, match=r"format 2 by sklearn_rnnbound 7\.8\.9.*: upgrade"):
        kind().__setstate__(state)


def test_files_depend_on_no_private_class(tmp_path, fitted):
    save(fitted, tmp_path / "a.skops")
    kinds = {f"{node['__module__']}.{node['__class__']}" for node in nodes_of(tmp_path / "a.skops")}
    assert {kind for kind in kinds if kind.startswith("sklearn")} == {
        "sklearn_rnnbound.classifier.RNNBoundClassifier"
    }
    names = pickle.dumps(fitted)
    assert names.count(b"sklearn_rnnbound.") == 1
    assert fitted.__getstate__()["_version"] == sklearn_rnnbound.__version__


def test_trusted_types_are_where_the_list_says():
    for path in persistence._TRUSTED:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(importlib.import_module(module), name), type)


# Saving


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_save_that_fails_leaves_what_was_there(error, tmp_path, monkeypatch, fitted):
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


def test_a_save_replaces_a_file_and_follows_a_link(tmp_path, fitted):
    path, link = tmp_path / "model.skops", tmp_path / "link"
    path.write_text("another file")
    link.symlink_to(path)
    save(fitted, link)
    assert link.is_symlink()
    assert isinstance(load(path), RNNBoundClassifier)
    assert sorted(os.listdir(tmp_path)) == ["link", "model.skops"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_same_estimator_gives_the_same_file(tmp_path, fitted):
    save(fitted, tmp_path / "a")
    save(load(tmp_path / "a"), tmp_path / "b")
    save(pickle.loads(pickle.dumps(fitted)), str(tmp_path / "c"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes()


def test_skops_itself_reads_the_file(tmp_path, fitted, small):
    save(fitted, tmp_path / "a.skops")
    kinds = skops.io.get_untrusted_types(file=tmp_path / "a.skops")
    other = skops.io.load(tmp_path / "a.skops", trusted=kinds)
    np.testing.assert_array_equal(other.predict_proba(small[0]), fitted.predict_proba(small[0]))


def itself():
    """An estimator that is a part of itself."""
    estimator = LogisticRegression()
    estimator.estimator = estimator
    return estimator


class Own(RNNBoundClassifier):
    """A class that this package does not know."""


def neighbours():
    """A pipeline whose second step holds a tree."""
    neighbours = KNeighborsClassifier(algorithm="kd_tree")
    return make_pipeline(StandardScaler(), neighbours).fit(np.eye(6), [0, 1] * 3)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        ({"a": 1}, "estimator must be an estimator"),
        (RNNBoundClassifier, "estimator must be an estimator"),
        (Own(), r"\.Own at estimator\. .*joblib\.dump"),
        (RNNBoundClassifier(callbacks=[EpochTimer()]), r"EpochTimer at estimator\.callbacks\[0\]"),
        (RNNBoundClassifier(memory=joblib.Memory(None)), r"Memory at estimator\.memory"),
        (neighbours(), r"_kd_tree\.KDTree at estimator\.steps\[1\]\[1\]\._tree .* a pipeline"),
        (make_pipeline(Birch().fit(np.eye(2))), r"_CFNode at estimator\.steps\[0\]\[1\]\.root_"),
        (WordVectorEncoder(tokenizer=str.split), "method_descriptor"),
        (WordVectorEncoder(tokenizer=itself), "itself"),
        (FunctionTransformer(json.loads), "json.loads"),
        *(
            (RNNBoundClassifier(class_weight=weights), r"keys .* estimator\.class_weight must")
            for weights in ({False: 1.0, True: 2.0}, {1: 1.0, "1": 2.0}, {None: 1.0})
        ),
        *(
            (make_pipeline(RNNBoundClassifier(class_weight={key: 1.0})), r"\]\.class_weight: keys")
            for key in ((1, 2), np.datetime64("2020"), 1j, b"a")
        ),
        (RNNBoundClassifier(random_state=np.zeros(2, "i4, i4")), r"array at estimator\.random_s"),
        (itself(), "recursion"),
    ],
)
def test_what_cannot_be_loaded_is_not_saved(estimator, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        save(estimator, tmp_path / "a.skops")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("search", [GridSearchCV, BoundSearch])
def test_of_a_search_the_winner_is_saved(search, tmp_path):
    X, y = TWO
    found = search(make_classifier(), {"beta_w": [0.5, 1.0]}).fit(X, y)
    with pytest.raises(TypeError, match="best_estimator_"):
        save(found, tmp_path / "a.skops")
    best = reloaded(found.best_estimator_, tmp_path)
    np.testing.assert_array_equal(best.predict(X), found.predict(X))


@pytest.mark.parametrize("wrapped", [lambda clf: clf, FrozenEstimator, make_pipeline])
def test_parameters_that_became_invalid_are_not_saved(wrapped, tmp_path, fitted):
    clf = copy.deepcopy(fitted).set_params(delta=5)
    with pytest.raises(ValueError, match=r"estimator could not be loaded .*'delta' parameter"):
        save(wrapped(clf), tmp_path / "a.skops")
    assert not os.listdir(tmp_path)


def test_names_of_files_are_checked_first(tmp_path, fitted):
    with pytest.raises(FileNotFoundError, match=r"path=.*nowhere.* folder is not there"):
        save(fitted, tmp_path / "nowhere" / "a.skops")
    # A source without an end.
    for path in (tmp_path / "nowhere", "/dev/zero"):
        with pytest.raises(FileNotFoundError, match=r"path=.* no file is there"):
            load(path)
    for call in (load, lambda path: save(fitted, path)):
        for path in (tmp_path, "", ".", "/"):
            with pytest.raises(IsADirectoryError, match="path="):
                call(path)
        for path in (None, b"a.skops", 3):
            with pytest.raises(TypeError, match="path must be a path, of type str or"):
                call(path)
        with pytest.raises(ValueError, match="path must be a path, which holds no NUL"):
            call("a\0b")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"path=.*fifo.* device"):
        save(fitted, tmp_path / "fifo")


def test_a_file_that_may_not_be_read_or_written_is_named(saved, scratch, fitted, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    # Neither modes of files nor of folders bind an administrator.
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PermissionError, match=r"path=.*can be written: Permission denied"):
        save(fitted, scratch)
    with pytest.raises(PermissionError, match=r"path=.*can be read: Permission denied"):
        load(saved)


@pytest.mark.parametrize("call", [lambda: save(RNNBoundClassifier(), "a"), lambda: load("a")])
def test_without_skops_the_extra_is_named(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ImportError, match=r"sklearn-rnnbound\[save\]"):
        call()


# Files that are not sound


def unpacked(path):
    """Tree and other members of a file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(members.pop("schema.json")), members


def packed(tree, members, path, **options):
    """Write a file of a tree and other members."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
        archive.writestr("schema.json", tree if isinstance(tree, str) else json.dumps(tree))
    return path


def nodes_of(path):
    """All nodes of a file."""
    found, rest = [], [unpacked(path)[0]]
    while rest:
        item = rest.pop()
        rest += item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
        if isinstance(item, dict) and "__loader__" in item:
            found.append(item)
    return found


def json_node(value):
    return node("JsonNode", "builtins.str", content=json.dumps(value))


def node(loader, kind, **entries):
    module, _, name = kind.rpartition(".")
    return {"__loader__": loader, "__module__": module, "__class__": name, **entries}


def list_node(nodes, kind="list"):
    return node(f"{kind.capitalize()}Node", f"builtins.{kind}", content=nodes)


def dict_node(entries):
    types = [node("TypeNode", "builtins.str") for _ in entries]
    return node("DictNode", "builtins.dict", content=entries, key_types=list_node(types))


def object_node(kind, entries):
    return node("ObjectNode", kind, content=dict_node(entries))


def array_node(name):
    return node("NdArrayNode", "numpy.ndarray", type="numpy", file=name)


def as_npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def with_header(dtype, shape, data=bytes(32)):
    """An array in NumPy's format that says something of itself."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


@pytest.fixture(scope="module")
def saved(tmp_path_factory, fitted):
    """A file of a classifier with noise."""
    path = tmp_path_factory.mktemp("saved") / "a.skops"
    save(fitted, path)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """Name of a file that tests may overwrite."""
    return tmp_path_factory.mktemp("scratch") / "changed.skops"


def refusal(path):
    """The error of loading a file; it names the file."""
    with pytest.raises((TypeError, ValueError)) as caught:
        load(path)
    assert path.name in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", b"PK\x05\x06" + bytes(18), pickle.dumps(RNNBoundClassifier())],
)
def test_other_files_are_refused(content, scratch):
    scratch.write_bytes(content)
    assert isinstance(refusal(scratch), ValueError)


@pytest.mark.parametrize("name", ["dumps", "loads"])
def test_an_interrupt_behind_another_error_gets_out(name, saved, scratch, fitted, monkeypatch):
    def interrupted(*args, **kwargs):
        try:
            raise KeyboardInterrupt
        finally:
            raise ValueError("Can't close the ZIP file")

    monkeypatch.setattr(skops.io, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(fitted, scratch) if name == "dumps" else load(saved)


def test_a_file_that_is_replaced_keeps_its_mode(fitted, scratch):
    scratch.touch()
    scratch.chmod(0o600)
    save(fitted, scratch)
    assert scratch.stat().st_mode & 0o777 == 0o600


def test_word_vectors_that_contradict_themselves_are_refused():
    words = WordVectors(["a"], np.ones((1, 2)))
    encoder = WordVectorEncoder(words)
    state = {**encoder.__getstate__(), "vectors": words}
    encoder.__setstate__(state)
    assert encoder.vectors.words == ["a"]
    object.__setattr__(words, "vectors", np.array([[np.nan, 1.0]]))
    with pytest.raises(ValueError, match="not finite"):
        encoder.__setstate__(state)


def check_truncated(saved, scratch, data):
    """A file that ends too early is refused."""
    content = saved.read_bytes()
    scratch.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert isinstance(refusal(scratch), ValueError)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_truncated_file_is_refused(saved, scratch, data):
    check_truncated(saved, scratch, data)


@pytest.mark.slow
@many
@given(data=st.data())
def test_a_truncated_file_is_refused_many_times(saved, scratch, data):
    check_truncated(saved, scratch, data)


def check_other_bytes(saved, scratch, fitted, small, data):
    """A file with other bytes is refused, or the same."""
    content = bytearray(saved.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= data.draw(st.integers(1, 255))
    scratch.write_bytes(content)
    try:
        loaded = load(scratch)
    except (TypeError, ValueError) as error:
        message = str(error)
        assert scratch.name in message
    else:
        # The bytes say when a member was made, and the like: each member has a sum of its own.
        np.testing.assert_array_equal(loaded.predict(small[0]), fitted.predict(small[0]))
        assert str(loaded.bound_report_()) == str(fitted.bound_report_())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_file_with_other_bytes_is_refused_or_the_same(saved, scratch, fitted, small, data):
    check_other_bytes(saved, scratch, fitted, small, data)


@pytest.mark.slow
@many
@given(data=st.data())
def test_files_with_other_bytes_many_times(saved, scratch, fitted, small, data):
    check_other_bytes(saved, scratch, fitted, small, data)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_bomb_is_refused_unopened(saved, scratch, method):
    tree, members = unpacked(saved)
    packed(tree, {**members, "bomb.npy": bytes(2**22)}, scratch, compression=method)
    assert scratch.stat().st_size < 2**18
    assert "compressed" in str(refusal(scratch))


def test_an_encrypted_member_is_refused(saved, scratch):
    content = saved.read_bytes()
    # Of the entries in the directory at the end of the file.
    place = content.rindex(b"PK\x01\x02") + 8
    scratch.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    assert "encrypted" in str(refusal(scratch))


def test_members_that_are_read_again_and_again_are_refused(saved, scratch):
    content = saved.read_bytes()
    end, entry = content.rindex(b"PK\x05\x06"), content.rindex(b"PK\x01\x02")
    n_entries, size, start = struct.unpack("<10xHII", content[end : end + 20])
    # The last entry of the directory many times.
    copies = content[entry:end] * 500
    counts = struct.pack("<HHII", n_entries + 500, n_entries + 500, size + len(copies), start)
    scratch.write_bytes(
        content[:end] + copies + content[end : end + 8] + counts + content[end + 20 :]
    )
    assert len(zipfile.ZipFile(scratch).namelist()) == n_entries + 500
    assert "larger" in str(refusal(scratch))


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x09" + as_npy(np.zeros(4))[8:],
        as_npy(np.zeros(4))[:-1],
        as_npy(np.zeros(4)) + b"\0",
        with_header("<f8", (5,)),
        with_header("<f8", (10**15,)),
        with_header("<f8", (-4, -1)),
        with_header("<f8", "(99**9,)"),
        with_header("<f8", "-" * 9000 + "1"),
        with_header("<U0", (10**15,), b""),
        with_header("|O", (4,)),
        as_npy(np.zeros(2, "i4, i4")),
        as_npy(np.array([{}], object), allow_pickle=True),
    ],
)
def test_arrays_that_are_not_what_their_header_says_are_refused(member, scratch):
    # scikit-learn does not look at what it is given.
    save(StandardScaler().fit(np.eye(4)), scratch)
    tree, members = unpacked(scratch)
    file = tree["content"]["content"]["mean_"]["file"]
    packed(tree, {**members, file: as_npy(np.ones(4))}, scratch)
    np.testing.assert_array_equal(load(scratch).mean_, np.ones(4))
    packed(tree, {**members, file: member}, scratch)
    assert isinstance(refusal(scratch), ValueError)


@pytest.mark.parametrize("kind", ["numpy.void", "numpy.bytes_"])
def test_a_number_may_not_make_many_bytes(kind, saved, scratch):
    # numpy.void(n) has n bytes.
    tree, members = unpacked(saved)
    tree["content"]["content"]["delta"] = node("NdArrayNode", kind, type="numpy", file="n.npy")
    packed(tree, {**members, "n.npy": as_npy(np.array(10**10))}, scratch)
    assert kind in str(refusal(scratch))


def test_references_that_double_are_no_bomb(saved, scratch):
    tree, members = unpacked(saved)
    part = json_node(1)
    for number in range(60):
        part = {
            **list_node([part, {"__id__": number, "__loader__": "CachedNode"}]),
            "__id__": number + 1,
        }
    tree["content"]["content"]["verbose"] = part
    packed(tree, members, scratch)
    refusal(scratch)
    # A loop, by the number of a node above.
    tree["__id__"] = 5
    tree["content"]["content"]["verbose"] = {**json_node(3), "__id__": 5}
    packed(tree, members, scratch)
    # Such numbers count for nothing: the node is what it says.
    assert load(scratch).verbose == 3


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "{}",
        "[]",
        "null",
        "7",
        "[" * 100_000,
        '{"protocol": 2}',
        "1" * 5000,
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_trees_that_are_none_are_refused(schema, scratch):
    packed(schema, {}, scratch)
    assert isinstance(refusal(scratch), ValueError)


@pytest.mark.parametrize("protocol", [None, True, 0, 1, "2", -1])
def test_protocols_that_are_not_known_are_refused(protocol, saved, scratch):
    tree, members = unpacked(saved)
    packed({**tree, "protocol": protocol}, members, scratch)
    assert "protocol" in str(refusal(scratch))


def test_a_tree_without_an_estimator_is_refused(scratch):
    packed({**dict_node({"a": json_node(1)}), "protocol": 2}, {}, scratch)
    assert "no estimator" in str(refusal(scratch))


@pytest.mark.parametrize("entries", [{}, {"content": None}, {"content": json_node(None)}])
def test_a_classifier_without_a_state_is_one_with_defaults(entries, scratch):
    kind = "sklearn_rnnbound.classifier.RNNBoundClassifier"
    packed({**node("ObjectNode", kind, **entries), "protocol": 2}, {}, scratch)
    assert load(scratch).get_params() == RNNBoundClassifier().get_params()


def test_parts_that_are_missing_or_of_another_kind_are_refused(saved, scratch):
    tree, members = unpacked(saved)
    packed({**tree, "content": list_node([])}, members, scratch)
    assert "no dictionary" in str(refusal(scratch))
    packed(tree, {"2.npy": members["2.npy"]}, scratch)
    assert "'1.npy' is missing" in str(refusal(scratch))


def test_a_deep_tree_is_refused(saved, scratch):
    tree, members = unpacked(saved)
    deep = json_node(1)
    for _ in range(400):
        deep = list_node([deep])
    tree["content"]["content"]["verbose"] = deep
    packed(tree, members, scratch)
    assert isinstance(refusal(scratch), ValueError)


@pytest.mark.parametrize(
    "changed", [{"pos": json_node(625)}, {"pos": json_node(-1)}, {"pos": json_node("x")}, {}]
)
def test_a_generator_with_a_position_out_of_its_numbers_is_refused(changed, tmp_path):
    # NumPy would read what lies beyond.
    path = tmp_path / "a.skops"
    save(make_classifier(random_state=np.random.RandomState(5)), path)
    tree, members = unpacked(path)
    state = tree["content"]["content"]["random_state"]["content"]["content"]["state"]
    expected = np.random.RandomState(5).randint(2**31, size=1000)
    np.testing.assert_array_equal(load(path).random_state.randint(2**31, size=1000), expected)
    state["content"] = {**state["content"], **changed} if changed else {}
    state["key_types"]["content"] = state["key_types"]["content"][: len(state["content"])]
    packed(tree, members, path)
    assert "position" in str(refusal(path))


# Files that mean harm

CODE = "from pathlib import Path\nPath({!r}).touch()\n\nclass Planted:\n    pass\n\n{}"
FUNCTION = "def run(*args, **kwargs):\n    Path({!r}).touch()\n    return 1\n"


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported, and the file that is the trace."""
    trace = tmp_path / "trace"
    (tmp_path / "planted_module.py").write_text(
        CODE.format(str(trace), FUNCTION.format(str(trace)))
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return trace


HARMFUL = {
    "an object": node("ObjectNode", "planted_module.Planted", content=dict_node({})),
    "a function": node("FunctionNode", "planted_module.run"),
    "a type": node("TypeNode", "planted_module.Planted"),
    "a list of its own": node("ListNode", "planted_module.Planted", content=[]),
    "a dictionary of its own": {**dict_node({}), "__module__": "planted_module"},
    "a number of its own": node("NdArrayNode", "planted_module.run", type="numpy", file="n.npy"),
    "a generator": node("RandomStateNode", "planted_module.run", content=dict_node({})),
    "a call": node(
        "ConstructorFromReduceNode", "planted_module.run", content=list_node([], "tuple")
    ),
    "a part of a call": node(
        "PartialNode",
        "functools.partial",
        content={
            "func": node("FunctionNode", "planted_module.run"),
            "args": list_node([], "tuple"),
            "kwds": dict_node({}),
            "namespace": json_node(None),
        },
    ),
    "a method": node(
        "MethodNode",
        "sklearn.pipeline.Pipeline",
        content={"func": "fit", "obj": object_node("sklearn.pipeline.Pipeline", {})},
    ),
    "an operator": node("OperatorFuncNode", "operator.methodcaller", attrs=list_node([], "tuple")),
    "a tree": node("TreeNode", "sklearn.tree._tree.Tree", content=dict_node({})),
    "a reduction": node("LossNode", "planted_module.run", content=dict_node({})),
    "a bit generator": node("RandomGeneratorNode", "numpy.random.Generator", content={}),
    "a command": node("FunctionNode", "posix.system"),
    "a function of this package": node("FunctionNode", "sklearn_rnnbound.persistence.save"),
    "a private class": object_node("sklearn_rnnbound.report.BoundReport", {}),
    "an unknown node": node("NewNode", "planted_module.Planted"),
}


@pytest.mark.parametrize("harmful", HARMFUL.values(), ids=HARMFUL)
@pytest.mark.parametrize("place", ["", "verbose", "_statistics", "classes_", "key"])
def test_no_code_of_a_file_is_run(harmful, place, saved, scratch, planted):
    tree, members = unpacked(saved)
    if place == "key":
        tree["content"]["key_types"]["content"][0] = harmful
    elif place:
        tree["content"]["content"][place] = harmful
    else:
        tree = {**harmful}
    packed({**tree, "protocol": 2}, {**members, "n.npy": as_npy(np.array(1))}, scratch)
    error = refusal(scratch)
    # Keys, and generators without numbers, are refused as such.
    if place != "key" and harmful is not HARMFUL["a generator"]:
        assert isinstance(error, TypeError)
        assert f"{harmful['__module__']}.{harmful['__class__']}" in str(error)
    assert not planted.exists()
    assert "planted_module" not in sys.modules


def test_the_planted_module_would_leave_a_trace(planted):
    importlib.import_module("planted_module")
    del sys.modules["planted_module"]
    assert planted.exists()


def test_all_types_that_are_not_trusted_are_named(saved, scratch):
    tree, members = unpacked(saved)
    tree["content"]["content"]["verbose"] = list_node(
        [HARMFUL["a function"], HARMFUL["an object"], HARMFUL["an unknown node"]]
    )
    packed(tree, members, scratch)
    error = refusal(scratch)
    assert "planted_module.run" in str(error)
    assert "planted_module.Planted" in str(error)
    assert "RNNBoundClassifier" not in str(error)


# States that do not hold


def changed_at(state, path, value):
    """State with another value at the path of keys; none at all for DELETED."""
    state = dict(state) if isinstance(state, dict) else list(state)
    key, *rest = path
    if rest:
        state[key] = changed_at(state[key], rest, value)
    elif value is DELETED:
        del state[key]
    else:
        state[key] = value
    return state if isinstance(state, dict) else tuple(state)


DELETED = object()
CLEAN = "_statistics", "clean"
BROKEN = [
    (("U_",), np.ones((6, 3)), "W_|square_sums"),
    (("U_",), np.ones((5, 2)), "W_"),
    (("U_",), np.ones(6), "U_"),
    (("U_",), np.ones((6, 2), np.float16), "U_"),
    (("U_",), np.ones((6, 2), int), "U_"),
    (("U_",), np.ones((6, 2), object), "U_"),
    (("U_",), [[1.0, 2.0]] * 6, "U_"),
    (("U_",), np.full((6, 2), np.nan), "U_"),
    (("U_",), np.full((6, 2), np.inf), "U_"),
    (("U_",), np.full((6, 2), 3.0), "beta_u"),
    (("U_",), DELETED, "U_"),
    (("W_",), np.eye(6, dtype=np.float32) / 2, "W_"),
    (("V_",), np.zeros((2, 6)), "classes_"),
    (("V_",), np.zeros((0, 6)), "V_"),
    (("classes_",), np.array([0, 1]), "classes_"),
    (("classes_",), np.array([0, 2, 1]), "classes_"),
    (("classes_",), np.array([0, 1, 1]), "classes_"),
    (("classes_",), np.array([0, 1, None], object), "classes_"),
    (("classes_",), np.array([0, 1, 2j]), "classes_"),
    (("n_features_in_",), 3, "n_features_in_"),
    (("n_features_in_",), True, "n_features_in_"),
    (("feature_names_in_",), np.array(["a", "b"], object), "feature_names_in_"),
    (("n_iter_",), 7, "n_iter_"),
    (("_n_learned",), 2**63, "_n_learned must have 63 bits"),
    (("loss_curve_",), np.ones(7), "loss_curve_"),
    (("loss_curve_",), [1.0] * 8, "loss_curve_"),
    (("best_loss_",), "1", "best_loss_"),
    (("beta_u_",), 0.5, "beta_u_"),
    (("beta_u_",), (1.0, 1.0), "beta_u_"),
    (("beta_u_",), -1.0, "beta_u_"),
    (("_init_seed",), 2**31, "_init_seed"),
    (("_evaluation_seed",), 2**40, "_evaluation_seed"),
    (("_evaluation_seed",), DELETED, "_evaluation_seed"),
    (("_n_learned",), 59, "_n_learned"),
    (("_fitted_on_3d",), 1, "_fitted_on_3d"),
    (("_fitted_on_3d",), False, "n_features_in_"),
    (("_prior_weights",), (np.zeros((6, 2)), np.zeros((6, 6))), "_prior_weights"),
    (("_prior_weights",), (np.zeros((6, 2)),) * 3, "_prior_weights"),
    (("_fitted_box",), {"center": None, "width": 0.5}, "_fitted_box.center"),
    (("_setting",), None, "_setting"),
    (("_setting", "activation"), "sigmoid", "activation"),
    (("_setting", "noise"), "cauchy", "noise"),
    (("_setting", "unit_types"), 3, "unit_types"),
    (("_setting", "unit_types"), 2, "unit_types"),
    (("_setting", "delta"), 1.5, "delta"),
    (("_setting", "beta_w"), 1e-3, "beta_w"),
    (("_setting", "beta_w"), (0.1, 0.1), "beta_w"),
    (("_setting", "noise_std"), 0.0, "noisy"),
    (("_setting", "notes"), ("a", 1), "notes"),
    (("_setting", "more"), 1, "_setting.more"),
    (("_statistics", "noisy"), None, "noisy"),
    (("_statistics", "clean"), None, "_statistics.clean"),
    (("_statistics", "beta_v"), 0.5, "beta_v_"),
    (("_statistics", "n_classes"), 2, "n_classes|classes_"),
    (("_statistics", "network", "hidden_size"), 7, "W_"),
    (("_statistics", "network", "path_norm"), DELETED, "_statistics.network.path_norm"),
    (("_statistics", "holdout"), {"n_errors": 0, "n_samples": 0}, "_statistics"),
    (("_statistics", "box"), {}, "_statistics.box.lower"),
    ((*CLEAN, "margins"), np.zeros(59), "margins"),
    ((*CLEAN, "margins"), np.full(60, np.nan), "margins"),
    ((*CLEAN, "square_sums"), np.ones((2, 5)), "square_sums"),
    ((*CLEAN, "square_sums"), -np.ones((5, 2)), "square_sums"),
    ((*CLEAN, "step_abs_sums"), np.ones(4), "square_sums"),
    ((*CLEAN, "fisher_rao"), -1.0, "fisher_rao"),
    ((*CLEAN, "fisher_rao"), 1, "fisher_rao"),
    ((*CLEAN, "energy"), (1.0,), "energy"),
    (("noise_std",), -1.0, "noise_std"),
    (("optimizer",), "newton", "optimizer"),
    (("predict",), np.exp, "predict"),
    (("net_",), 1, "net_"),
    (("device_",), "cpu", "device_"),
    ((3,), 1, "3"),
    (("_format",), "1", "_format"),
    (("_format",), -1, "_format"),
    (("_format",), True, "_format"),
    (("_metadata_request",), {"fit": {"sample_weight": 3}}, "sample_weight"),
    (("_metadata_request",), [], "_metadata_request"),
]


@pytest.mark.parametrize(("path", "value", "named"), BROKEN)
def test_states_that_do_not_hold_are_refused_by_the_name_of_the_field(fitted, path, value, named):
    state = changed_at(fitted.__getstate__(), path, value)
    with pytest.raises(ValueError, match=named):
        RNNBoundClassifier().__setstate__(state)


def test_norms_that_the_weights_do_not_have_are_refused(fitted):
    state = fitted.__getstate__()
    for norm in (0.5, (fitted.beta_u_, fitted.beta_u_)):
        changed = changed_at(state, ("_statistics", "beta_u"), norm)
        with pytest.raises(ValueError, match="beta_u_ is what the weights reach"):
            RNNBoundClassifier().__setstate__(changed_at(changed, ("beta_u_",), norm))


def test_weights_outside_their_box_are_refused():
    X, y = TWO
    clf = make_classifier(prior=prior_of(TWO), box_width=0.1).fit(X, y)
    state = clf.__getstate__()
    for path, value in (
        (("_fitted_box", "width"), 0.05),
        (("_statistics", "box", "n_prior"), 9),
        (("_prior_weights",), None),
    ):
        with pytest.raises(ValueError, match="_fitted_box"):
            RNNBoundClassifier().__setstate__(changed_at(state, path, value))
    wide = changed_at(state, ("_fitted_box", "width"), 2.5)
    with pytest.raises(ValueError, match="width up to 2"):
        RNNBoundClassifier().__setstate__(changed_at(wide, ("_statistics", "box", "width"), 2.5))
    center = tuple(weight + 1 for weight in clf._prior_weights)
    with pytest.raises(ValueError, match="_fitted_box"):
        RNNBoundClassifier().__setstate__(changed_at(state, ("_fitted_box", "center"), center))


@pytest.mark.parametrize(
    ("transformer", "X", "name", "value"),
    [
        (SequencePadder(), SERIES, "length_", 0),
        (SequencePadder(), SERIES, "length_", 2.0),
        (SequencePadder(), SERIES, "n_features_in_", DELETED),
        (SequencePadder(), SERIES, "keep", "middle"),
        (SequenceScaler(), np.ones((3, 2, 2)), "scale_", np.ones(3)),
        (SequenceScaler(), np.ones((3, 2, 2)), "mean_", np.array([0.0, np.nan])),
        (SequenceScaler(), np.ones((3, 2, 2)), "scale_", np.zeros(2)),
        (SequenceScaler(), np.ones((3, 2, 2)), "n_features_in_", 4),
        (SequenceScaler(step_size=2), np.ones((3, 4)), "n_features_in_", 5),
        (WordVectorEncoder(VECTORS), ["a"], "vectors_", np.ones((2, 2))),
        (WordVectorEncoder(VECTORS), ["a"], "vectors_", np.ones(5)),
        (WordVectorEncoder(VECTORS), ["a"], "_rows", np.zeros(4, int)),
        (WordVectorEncoder(VECTORS), ["a"], "_rows", -np.ones(5, int)),
        (WordVectorEncoder(VECTORS), ["a"], "_rows", np.zeros(5)),
        (WordVectorEncoder(VECTORS), ["a"], "_words", '["a", "a", "b", "c", "d"]'),
        (WordVectorEncoder(VECTORS), ["a"], "_words", "[1, 2, 3, 4, 5]"),
        (WordVectorEncoder(VECTORS), ["a"], "_words", "no JSON"),
        (WordVectorEncoder(VECTORS), ["a"], "clip", -1.0),
    ],
)
def test_states_of_transformers_that_do_not_hold_are_refused(transformer, X, name, value):
    state = changed_at(transformer.fit(X).__getstate__(), (name,), value)
    with pytest.raises(ValueError, match=name):
        type(transformer)().__setstate__(state)


def places(state, path=()):
    """Paths to all entries of a state."""
    entries = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | tuple):
            yield from places(value, (*path, key))


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
DTYPES = st.sampled_from(["f4", "f8", ">f8", "f2", "i8", "?", "O", "U2", "c16", "M8[s]"])
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.tuples(st.floats(), st.floats()),
    st.builds(np.zeros, SHAPES, DTYPES),
    st.just({}),
    st.just(DELETED),
)


def check_other_entry(fitted, small, data):
    """A state with another entry is refused, or works."""
    state = fitted.__getstate__()
    path = data.draw(st.sampled_from(list(places(state))))
    state = changed_at(state, path, data.draw(VALUES))
    clf = RNNBoundClassifier()
    try:
        clf.__setstate__(state)
    except ValueError as error:
        message = str(error)
        assert "RNNBoundClassifier" in message
        return
    assert clf.predict_proba(small[0]).shape == (60, 3)
    str(clf.bound_report_())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_state_with_another_entry_is_refused_or_works(fitted, small, data):
    check_other_entry(fitted, small, data)


@pytest.mark.slow
@many
@given(data=st.data())
def test_states_with_another_entry_many_times(fitted, small, data):
    check_other_entry(fitted, small, data)


NODES = st.recursive(
    st.one_of(
        st.sampled_from(list(HARMFUL.values())),
        VALUES.filter(lambda value: value is None or isinstance(value, int | float | str)).map(
            json_node
        ),
        st.sampled_from([array_node(f"{i}.npy") for i in range(8)]),
        st.sampled_from(
            [
                object_node(f"sklearn.{name}", {})
                for name in ("pipeline.Pipeline", "frozen._frozen.FrozenEstimator")
            ]
        ),
        st.just(object_node("sklearn_rnnbound.classifier.RNNBoundClassifier", {})),
        st.just(node("ObjectNode", "sklearn_rnnbound.classifier.RNNBoundClassifier")),
        st.just(node("FunctionNode", "numpy.exp")),
        st.just(node("TypeNode", "numpy.float64")),
        st.sampled_from([None, 1, "x", [], {}, {"__loader__": "ListNode"}]),
    ),
    lambda nodes: st.one_of(
        st.lists(nodes, max_size=3).map(list_node),
        st.lists(nodes, max_size=3).map(lambda some: list_node(some, "tuple")),
        st.dictionaries(st.sampled_from(["a", "center", "width"]), nodes).map(dict_node),
    ),
    max_leaves=4,
)


def check_other_node(saved, scratch, small, data):
    """A tree with another node is refused, or an estimator."""
    tree, members = unpacked(saved)
    owners = [
        content
        for content in (item.get("content") for item in [tree, *nodes_in(tree)])
        if isinstance(content, dict | list) and content
    ]
    owner = data.draw(st.sampled_from(owners))
    keys = list(owner) if isinstance(owner, dict) else range(len(owner))
    owner[data.draw(st.sampled_from(list(keys)))] = data.draw(NODES)
    packed(tree, members, scratch)
    try:
        loaded = load(scratch)
    except (TypeError, ValueError) as error:
        message = str(error)
        assert scratch.name in message
        return
    assert isinstance(loaded, RNNBoundClassifier)
    if hasattr(loaded, "U_"):
        assert loaded.predict_proba(small[0]).shape == (60, 3)
        str(loaded.bound_report_())


@settings(max_examples=200, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_tree_with_another_node_is_refused_or_an_estimator(saved, scratch, small, data):
    check_other_node(saved, scratch, small, data)


@pytest.mark.slow
@many
@given(data=st.data())
def test_trees_with_another_node_many_times(saved, scratch, small, data):
    check_other_node(saved, scratch, small, data)


def nodes_in(tree):
    """The nodes below a node."""
    rest = list(tree.values()) if isinstance(tree, dict) else tree
    for item in rest:
        if isinstance(item, dict | list):
            if isinstance(item, dict) and "__loader__" in item:
                yield item
            yield from nodes_in(item)
