"""The public face: names, signatures and docstrings."""

import ast
import importlib
import inspect
import pkgutil
import re

import pytest
from conftest import make_classifier

import sklearn_rnnbound
from sklearn_rnnbound import BoundSearch
from sklearn_rnnbound.preprocessing import SequencePadder, SequenceScaler, WordVectorEncoder

# A change of this table is a change of the public face: it belongs into CHANGELOG.md.
FACE = {
    "sklearn_rnnbound": """
        BOUNDS
        Bound(name, value, kind, terms, margin, delta, assumptions, vacuous, reason)
        Bound.__float__()
        Bound.as_estimate(why)
        Bound.empirical_risk
        Bound.explained(reason)
        Bound.term(name)
        BoundCurve(n_samples, reports)
        BoundCurve.to_frame()
        BoundCurve.to_latex()
        BoundReport(bounds, train_error, test_error, delta, simultaneous=False, omitted=(),
            other_test_errors=<factory>)
        BoundReport.__contains__(name)
        BoundReport.__getitem__(name)
        BoundReport.__iter__()
        BoundReport.__len__()
        BoundReport.test_error_of(name)
        BoundReport.to_frame()
        BoundReport.to_latex()
        BoundSearch(estimator, param_grid, *, method='peeling', delta=None, n_jobs=None,
            refit=True, error_score=nan, verbose=False)
        BoundSearch.decision_function(X)
        BoundSearch.fit(X, y, **fit_params)
        BoundSearch.predict(X)
        BoundSearch.predict_log_proba(X)
        BoundSearch.predict_proba(X)
        BoundSearch.score(X, y, **params)
        CrossValidatedBoundReport(folds, error_score=nan)
        CrossValidatedBoundReport.rank_correlation(*, confidence=0.95)
        CrossValidatedBoundReport.summary()
        CrossValidatedBoundReport.to_frame()
        CrossValidatedBoundReport.to_latex()
        RNNBoundClassifier(hidden_size=64, *, cell='elman', activation='relu', noise_std=0.0,
            noise='gaussian', beta_u=None, beta_w=None, beta_v=None, unit_types=1,
            fisher_rao_max=None, input_bound=None, gradient_clip_norm=None,
            gradient_clip_value=None, weight_decay=0.0, loss='cross_entropy', optimizer='adam',
            learning_rate=0.003, max_iter=200, batch_size='auto', shuffle=True, tol=0.0001,
            n_iter_no_change=10, early_stopping=False, validation_fraction=0.1,
            warm_start=False, prior=None, box_width=None, class_weight=None, verbose=False,
            random_state=None, step_size=1, margin='auto', delta=0.05, min_eigenvalue='estimate',
            memory=None, checkpoint=None, callbacks=None, device='auto')
        RNNBoundClassifier.bound_curve_(X_train, y_train, *, fractions=(0.125, 0.25, 0.5, 1),
            methods='all', margin=None, delta=None)
        RNNBoundClassifier.bound_report_(X_test=None, y_test=None, *, X_train=None, y_train=None,
            methods='all', margin=None, delta=None, simultaneous=False)
        RNNBoundClassifier.certified_radius_(X)
        RNNBoundClassifier.decision_function(X)
        RNNBoundClassifier.fisher_rao_norm_(X=None, y=None, *, form='linearized')
        RNNBoundClassifier.fit(X, y, sample_weight=None)
        RNNBoundClassifier.generalization_bound_(*, method='paper', margin=None, delta=None)
        RNNBoundClassifier.predict(X)
        RNNBoundClassifier.predict_log_proba(X)
        RNNBoundClassifier.predict_proba(X)
        Term(name, value, rate)
        bound_report(estimator, X_test=None, y_test=None, *, X_train=None, y_train=None,
            methods='all', margin=None, delta=None, simultaneous=False, n_candidates=1)
        certify(search, *, method='peeling', delta=None)
        cross_validate_bounds(estimator, X, y, *, param_grid=None, groups=None, cv=None,
            methods='all', margin=None, delta=None, simultaneous=False, params=None, n_jobs=None,
            verbose=0, error_score=nan)
        load(path)
        make_bound_scorer(method='peeling', *, margin=None, delta=None)
        neg_bound_scorer(estimator, X=None, y=None)
        save(estimator, path)
    """,
    "sklearn_rnnbound.datasets": """
        WordVectors(words, vectors)
        WordVectors.__contains__(word)
        WordVectors.__getitem__(word)
        WordVectors.__iter__()
        WordVectors.__len__()
        load_digit_sequences()
        load_imdb(path, *, subset='train', verbose=False)
        load_ts(path)
        load_word_vectors(path)
        make_gaussian_sequences(n_samples=1000, n_steps=5, n_features=2, *, correlation=0.0,
            flip_y=0.1, random_state=None)
    """,
    "sklearn_rnnbound.plotting": """
        BoundCurveDisplay(positions, reports, *, xlabel='', over='folds')
        BoundCurveDisplay.from_cross_validation(report, *, param=None, methods=None, term=None,
            ax=None)
        BoundCurveDisplay.from_curve(curve, *, term=None, ax=None)
        BoundCurveDisplay.from_estimator(estimator, X, y, *, param_name=None, param_range=None,
            term=None, ax=None, **options)
        BoundCurveDisplay.from_reports(reports, *, xlabel, methods=None, term=None, ax=None)
        BoundCurveDisplay.plot(*, term=None, methods=None, ax=None)
        BoundDecompositionDisplay(report)
        BoundDecompositionDisplay.from_estimator(estimator, X_test=None, y_test=None, *, ax=None,
            **report_options)
        BoundDecompositionDisplay.from_report(report, *, ax=None)
        BoundDecompositionDisplay.plot(*, ax=None)
        MarginDistributionDisplay(margins, noisy_margins=None, *, noise_std=0.0, alpha=None,
            method='')
        MarginDistributionDisplay.from_estimator(estimator, X=None, y=None, *, method='peeling',
            margin=None, ramp=False, ax=None)
        MarginDistributionDisplay.plot(*, ramp=False, ax=None)
        SpectrumDisplay(eigenvalues, *, min_eigenvalue, n_samples, noise_std=0.0)
        SpectrumDisplay.from_data(X, *, noise_std=0.0, step_size=1, ax=None)
        SpectrumDisplay.plot(*, ax=None)
    """,
    "sklearn_rnnbound.preprocessing": """
        SequencePadder(length=None, *, keep='first')
        SequencePadder.fit(X, y=None)
        SequencePadder.transform(X)
        SequenceScaler(*, with_mean=True, with_std=True, step_size=1)
        SequenceScaler.fit(X, y=None)
        SequenceScaler.inverse_transform(X)
        SequenceScaler.transform(X)
        WordVectorEncoder(vectors=None, *, max_words=100, keep='first', unknown='zero',
            lowercase=True, tokenizer=None, token_pattern="[a-zA-Z0-9']+", n_segments=None,
            supervised=None, smoothing=1.0, C=10.0, min_count=2, clip=None,
            dtype=<class 'numpy.float32'>, memmap_folder=None, verbose=False)
        WordVectorEncoder.fit(documents, y=None)
        WordVectorEncoder.transform(documents)
    """,
}
# Results that methods hand over, what needs a package that is not always there, and `load`, which
# the example of `save` shows.
WITHOUT_EXAMPLE = {
    "Bound",
    "BoundCurve",
    "BoundReport",
    "CrossValidatedBoundReport",
    "Term",
    "load",
    "load_ts",
}
# Sections that not every docstring needs (ES01, EX01, SA01), its place (GL01), capitals where a
# symbol comes first (PR08, RT04, SS02), named returns (RT02), plurals taken for verbs (SS05); the
# docstrings of magic methods (GL08).
MATTERS_OF_TASTE = {
    "ES01",
    "EX01",
    "GL01",
    "GL08",
    "PR08",
    "RT02",
    "RT04",
    "SA01",
    "SS02",
    "SS05",
}
OPERATORS = ("__call__", "__contains__", "__float__", "__getitem__", "__iter__", "__len__")

MODULES = [
    module.name
    for module in pkgutil.walk_packages(sklearn_rnnbound.__path__, f"{sklearn_rnnbound.__name__}.")
]


def signature(function):
    """Names, kinds and defaults of the parameters; types are mypy's to check."""
    parameters = inspect.signature(function).parameters.values()
    bare = [parameter.replace(annotation=parameter.empty) for parameter in parameters]
    return str(inspect.Signature(bare))


def members(cls):
    """Names of the public methods and properties that the package itself defines."""
    return [
        name
        for name in dir(cls)
        for owner in [next(base for base in cls.__mro__ if name in vars(base))]
        if owner.__module__.startswith(sklearn_rnnbound.__name__)
        and (name in OPERATORS or not name.startswith("_"))
        # Not what scikit-learn's metadata routing adds, and no defaults of fields.
        and not (name.startswith("set_") and name.endswith("_request"))
        and (callable(getattr(cls, name)) or isinstance(vars(owner)[name], property))
    ]


def lines(module):
    """The lines of FACE that a module deserves."""
    for name in sorted(module.__all__):
        value = getattr(module, name)
        if isinstance(value, dict):
            # Its keys are listed on the page of the API, a new bound there alone.
            yield name
            continue
        yield f"{name}{signature(value)}"
        for member in members(value) if inspect.isclass(value) else ():
            attribute = inspect.getattr_static(value, member)
            if isinstance(attribute, property):
                yield f"{name}.{member}"
            elif isinstance(attribute, classmethod):
                yield f"{name}.{member}{signature(getattr(value, member))}"
            else:
                # As users call it, without self.
                first, *_ = inspect.signature(getattr(value, member)).parameters
                assert first == "self"
                text = signature(getattr(value, member))
                yield f"{name}.{member}{text.replace('(self, ', '(').replace('(self)', '()')}"


@pytest.mark.parametrize("name", FACE)
def test_names_and_signatures(name):
    listed = inspect.cleandoc(FACE[name]).replace("\n    ", " ").splitlines()
    assert list(lines(importlib.import_module(name))) == listed


@pytest.mark.parametrize("name", FACE)
def test_dir_and_star_import_show_the_listed_names_only(name):
    module = importlib.import_module(name)
    visible = {
        attribute
        for attribute, value in vars(module).items()
        if not attribute.startswith("_") and not inspect.ismodule(value)
    }
    assert visible == set(module.__all__)
    namespace = {}
    exec(f"from {name} import *", namespace)
    assert set(namespace) - {"__builtins__"} == set(module.__all__)


def test_modules_list_what_others_import():
    """`__all__` is the face that a module turns to the rest of the package."""
    unlisted = set()
    for name in MODULES:
        for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(name)))):
            if isinstance(node, ast.ImportFrom) and node.module in MODULES:
                listed = importlib.import_module(node.module).__all__
                unlisted |= {
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if alias.name not in listed
                }
    assert not unlisted


def definitions(module):
    """Dotted names of the classes, functions and methods that a module defines."""
    for name, value in vars(importlib.import_module(module)).items():
        if getattr(value, "__module__", None) != module:
            continue
        if inspect.isclass(value):
            yield f"{module}.{name}"
            for member, attribute in vars(value).items():
                is_method = inspect.isfunction(attribute) and attribute.__name__ == member
                if is_method or isinstance(attribute, classmethod | property):
                    yield f"{module}.{name}.{member}"
        elif inspect.isfunction(value):
            yield f"{module}.{name}"


@pytest.mark.parametrize("module", MODULES)
def test_sections_of_docstrings_are_complete(module):
    """As numpydoc lint, but on live objects: the fields of dataclasses are parameters as well."""
    validate = pytest.importorskip("numpydoc.validate").validate
    for name in definitions(module):
        report = validate(name)
        if "\n---" not in inspect.cleandoc(report["docstring"]):
            continue
        wrong = {code: text for code, text in report["errors"] if code not in MATTERS_OF_TASTE}
        undocumented = re.findall(r"'(\w+)'", wrong.pop("PR01", ""))
        assert not wrong, name
        assert all(parameter.startswith("_") for parameter in undocumented), name


@pytest.mark.parametrize("module", FACE)
def test_public_docstrings_have_every_section(module):
    validate = pytest.importorskip("numpydoc.validate").validate
    optional = MATTERS_OF_TASTE - {"GL08", "PR08", "RT04", "SS02"}
    for name in importlib.import_module(module).__all__:
        value = getattr(importlib.import_module(module), name)
        if not inspect.isclass(value) and not inspect.isfunction(value):
            continue
        methods = members(value) if inspect.isclass(value) else ()
        for path in (name, *(f"{name}.{one}" for one in methods if one not in OPERATORS)):
            report = validate(f"{module}.{path}")
            assert not {code for code, _ in report["errors"]} - optional, path
        errors = {code for code, _ in validate(f"{module}.{name}")["errors"]}
        assert ("EX01" in errors) == (name in WITHOUT_EXAMPLE), name


@pytest.mark.parametrize(
    "estimator",
    [
        make_classifier(),
        make_classifier(early_stopping=True),
        BoundSearch(make_classifier(), {"beta_w": [0.5, 1.0]}),
        SequencePadder(),
        SequenceScaler(),
        WordVectorEncoder({"a": [1.0], "b": [2.0]}),
        WordVectorEncoder({"a": [1.0], "b": [2.0]}, supervised="log_odds", min_count=1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_fitted_attributes_are_those_of_the_docstring(estimator, small):
    docscrape = pytest.importorskip("numpydoc.docscrape")
    X, y = (["a b", "b a"], [0, 1]) if isinstance(estimator, WordVectorEncoder) else small
    estimator.fit(X, y)
    doc = docscrape.NumpyDocString(inspect.getdoc(type(estimator)))
    listed = {name for entry in doc["Attributes"] for name in entry.name.split(", ")}
    fitted = {
        name
        for name in dir(estimator)
        if name.endswith("_") and not name.startswith("_") and hasattr(estimator, name)
        if not inspect.ismethod(getattr(estimator, name))
    }
    # Only of input with named columns.
    assert fitted == listed - {"feature_names_in_"}
