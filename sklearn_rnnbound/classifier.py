"""The classifier: parameters, labels and predictions; the bound methods ask its certifier."""

from __future__ import annotations

import os
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils import (
    Tags,
    assert_all_finite,
    check_consistent_length,
    column_or_1d,
    compute_class_weight,
)
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from sklearn_rnnbound._base import OPTIMIZERS, RecurrentEstimator, Sample
from sklearn_rnnbound._validation import as_steps, check_sequences, restored_on_failure
from sklearn_rnnbound.certification.certifier import check_method
from sklearn_rnnbound.certification.report import BoundCurve, BoundReport
from sklearn_rnnbound.evidence.trial import Data
from sklearn_rnnbound.training.constraints import Radius
from sklearn_rnnbound.training.data import as_tensor

__all__ = ["RNNBoundClassifier"]

_RADIUS = [Interval(Real, 0, None, closed="left"), tuple, list, None]
_POSITIVE_OR_NONE = [Interval(Real, 0, None, closed="neither"), None]


class RNNBoundClassifier(ClassifierMixin, RecurrentEstimator):
    """Recurrent classifier that comes with a generalization bound.

    The network is ``h_t = act(U x_t + W h_{t-1})`` with scores ``y = V h_L`` and without biases,
    trained by cross-entropy or by the ramp loss. Noise on the input, constraints on the norms of
    U, W and V and gradient clipping are the regularisers that the bounds of Tu, He & Tao (2020)
    speak of; after `fit` the bound methods say what these and other bounds are worth, term by term.

    Parameters
    ----------
    hidden_size : int, default=64
        Number m of hidden units.
    cell : str, default="elman"
        Kind of the network, a key of :data:`sklearn_rnnbound.cells.CELLS`: "elman" is that of the
        paper.
    activation : {"relu", "tanh"}, default="relu"
        Activation of the hidden units. The paper's bounds cover relu.
    noise_std : float, default=0.0
        Standard deviation sigma of the input noise in training, in the units of the input. Every
        minibatch gets a fresh draw.
    noise : {"gaussian", "uniform", "laplace"}, default="gaussian"
        Law of the input noise, scaled to standard deviation `noise_std`.
    beta_u, beta_w, beta_v : float, pair of floats or None, default=None
        Radii of the l1 balls that hold the rows of U, W and V, enforced by projection after every
        step. A pair (beta+, beta-) bounds the sums of the positive and of the negative parts of
        a row instead. None: not constrained.
    unit_types : {1, 2}, default=1
        With 2 the first half of the hidden units has U, V >= 0, the other half U, V <= 0, both
        W >= 0, and no weight connects the halves. For two classes the read-out of class 0 is zero
        then: one half speaks for class 1, the other against it, and larger inputs never speak
        against class 1. Features of unknown sign enter twice, as x and -x.
    fisher_rao_max : float or None, default=None
        Radius r of the linearised Fisher-Rao norm on the training data; V is rescaled at the end
        of every epoch.
    input_bound : float or None, default=None
        B with ``||x||_inf <= B`` known before the data are seen; it is checked on the training
        data. With it, r in the bounds follows from the norms (Remark 6) and need not be
        estimated, and for two classes and one feature ``"peeling"`` has its population form.
    gradient_clip_norm : float or None, default=None
        Largest norm of the whole gradient.
    gradient_clip_value : float or None, default=None
        Largest magnitude of one entry of the gradient.
    weight_decay : float, default=0.0
        Factor of the squared norm of the weights in the optimizer.
    loss : {"cross_entropy", "ramp"}, default="cross_entropy"
        Training loss. "ramp" is the ramp loss at `margin`, which the certificates contain; it has
        no gradient for samples with a negative margin, so start it from a trained network: `prior`,
        or `warm_start` after a fit by cross-entropy.
    optimizer : {"adam", "sgd"}, default="adam"
        Optimizer; "sgd" has Nesterov momentum 0.9.
    learning_rate : float, default=0.003
        Step size of the optimizer.
    max_iter : int, default=200
        Largest number of epochs.
    batch_size : int or "auto", default="auto"
        Size of the minibatches; "auto" is ``min(200, n)``.
    shuffle : bool, default=True
        Whether to shuffle the samples in every epoch.
    tol : float, default=1e-4
        An epoch that does not improve the loss (with `early_stopping` the validation accuracy) by
        more counts as stalled.
    n_iter_no_change : int, default=10
        Training ends after more stalled epochs in a row than this.
    early_stopping : bool, default=False
        Whether to hold out a stratified validation part, to end when its accuracy stalls, and to
        return the weights of the best epoch.
    validation_fraction : float, default=0.1
        Size of the validation part.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the previous call.
    prior : RNNBoundClassifier, FrozenEstimator or None, default=None
        A classifier that was fitted on data disjoint from those of `fit`. Training starts from its
        weights; they are the centre of the prior of ``"pac_bayes"``, the reference of ``"occam"``
        and the centre of the box of ``"localized"``. Where the estimator is cloned, as in a search,
        wrap it in :class:`sklearn.frozen.FrozenEstimator`.
    box_width : float or None, default=None
        Relative width, in [0, 2], of the box around the weights w of `prior`: training stays in
        ``w (1 +- box_width / 2)``, and the bound ``"localized"`` applies. None: no box.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the training loss.
    verbose : bool or int, default=False
        Whether to print one line per epoch.
    random_state : int, RandomState instance or None, default=None
        Seed of the initial weights, the order of the samples, the noise and the validation part.
    step_size : int, default=1
        A 2-D X of shape (n, L * step_size) is read as L steps of `step_size` features.
    margin : float or "auto", default="auto"
        Margin alpha of the bounds; a float counts as fixed beforehand, "auto" is the best of the
        grid 2^j, paid for by a union bound.
    delta : float, default=0.05
        Probability with which a bound may fail, everything included.
    min_eigenvalue : float or "estimate", default="estimate"
        Smallest eigenvalue of the uncentred second moment of the flattened input: known
        beforehand, or estimated in `fit`. 0.0 is always valid, costs nothing, and makes Theorem 2
        infinite.
    memory : str, joblib.Memory or None, default=None
        Cache of what depends on the data alone.
    checkpoint : str, os.PathLike or None, default=None
        A folder, made when missing, in which the state of training is kept at the ends of epochs,
        every few seconds. A fit that was interrupted, even by the end of its process, goes on from
        there when it is started again with the same data and parameters, and gives the same
        network to the last bit. The file is removed when the fit has succeeded. Fits do not get in
        each other's way: one folder serves a whole search. Needs an integer `random_state`, and no
        `callbacks`.
    callbacks : list or None, default=None
        Callbacks of skorch; they are not saved with a fitted estimator. Those that look at
        validation need `early_stopping`, or a `monitor` such as ``"train_loss"``. The weights are
        ``net.module_.weights``.
    device : str, default="auto"
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or "auto": CUDA where there is one.

    Attributes
    ----------
    classes_ : ndarray of shape (k,)
        Class labels.
    n_features_in_ : int
        Number d of features per step for 3-D input, number of columns for 2-D input.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, when X has string names.
    n_iter_ : int
        Number of epochs.
    loss_curve_ : list of float
        Training loss after every epoch.
    best_loss_ : float or None
        Smallest training loss; None with `early_stopping`.
    validation_scores_ : list of float or None
        Validation accuracy after every epoch; None without `early_stopping`.
    device_ : str
        Device of the network.
    net_ : skorch.NeuralNetClassifier
        The fitted net; bounds speak of the weights that `fit` has left in it. Its `history` has
        ``epoch`` and ``train_loss``; with `callbacks` it has all that skorch records.
    U_, W_, V_ : ndarray of shapes (m, d), (m, m), (k, m)
        Weights of the cell "elman"; those of another cell have its names.
    beta_u_, beta_w_, beta_v_ : float or pair of floats
        Largest row norms of the weights, as sign sums where the constraint is a pair.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : Feed-forward network with the same vocabulary.

    Notes
    -----
    Sequences of different lengths are padded with zero vectors at the front: the hidden state
    stays zero until the first non-zero input, so no mask is needed.

    The bounds speak of the unweighted risk of all training rows of positive weight. Theorems 2
    and 3 are never below 1; what they tell is how the bound grows.

    References
    ----------
    .. [1] Z. Tu, F. He, D. Tao. Understanding Generalization in Recurrent Neural Networks.
       ICLR 2020.

    Examples
    --------
    >>> from sklearn_rnnbound import RNNBoundClassifier
    >>> from sklearn_rnnbound.datasets import load_digit_sequences
    >>> X, y = load_digit_sequences()
    >>> clf = RNNBoundClassifier(noise_std=0.1, beta_w=1.0, random_state=0)
    >>> clf = clf.fit(X[:1000], y[:1000])
    >>> clf.score(X[1000:], y[1000:]) > 0.85
    True
    >>> clf.generalization_bound_() > 1
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "cell": [str],
        "activation": [StrOptions({"relu", "tanh"})],
        "noise_std": [Interval(Real, 0, None, closed="left")],
        "noise": [StrOptions({"gaussian", "uniform", "laplace"})],
        "beta_u": _RADIUS,
        "beta_w": _RADIUS,
        "beta_v": _RADIUS,
        "unit_types": [Interval(Integral, 1, 2, closed="both")],
        "fisher_rao_max": _POSITIVE_OR_NONE,
        "input_bound": _POSITIVE_OR_NONE,
        "gradient_clip_norm": _POSITIVE_OR_NONE,
        "gradient_clip_value": _POSITIVE_OR_NONE,
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "loss": [StrOptions({"cross_entropy", "ramp"})],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "prior": [HasMethods(["fit", "predict"]), None],
        "box_width": [Interval(Real, 0, 2, closed="both"), None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "step_size": [Interval(Integral, 1, None, closed="left")],
        "margin": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "delta": [Interval(Real, 0, 1, closed="neither")],
        "min_eigenvalue": [StrOptions({"estimate"}), Interval(Real, 0, None, closed="left")],
        "memory": [str, HasMethods(["cache"]), None],
        "checkpoint": [str, os.PathLike, None],
        "callbacks": [list, None],
        "device": [str],
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
        cell: str = "elman",
        activation: str = "relu",
        noise_std: float = 0.0,
        noise: str = "gaussian",
        beta_u: Radius = None,
        beta_w: Radius = None,
        beta_v: Radius = None,
        unit_types: int = 1,
        fisher_rao_max: float | None = None,
        input_bound: float | None = None,
        gradient_clip_norm: float | None = None,
        gradient_clip_value: float | None = None,
        weight_decay: float = 0.0,
        loss: str = "cross_entropy",
        optimizer: str = "adam",
        learning_rate: float = 0.003,
        max_iter: int = 200,
        batch_size: int | str = "auto",
        shuffle: bool = True,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        prior: Any = None,
        box_width: float | None = None,
        class_weight: dict[Any, float] | str | None = None,
        verbose: bool | int = False,
        random_state: int | np.random.RandomState | None = None,
        step_size: int = 1,
        margin: float | str = "auto",
        delta: float = 0.05,
        min_eigenvalue: float | str = "estimate",
        memory: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: list[Any] | None = None,
        device: str = "auto",
    ) -> None:
        self.hidden_size = hidden_size
        self.cell = cell
        self.activation = activation
        self.noise_std = noise_std
        self.noise = noise
        self.beta_u = beta_u
        self.beta_w = beta_w
        self.beta_v = beta_v
        self.unit_types = unit_types
        self.fisher_rao_max = fisher_rao_max
        self.input_bound = input_bound
        self.gradient_clip_norm = gradient_clip_norm
        self.gradient_clip_value = gradient_clip_value
        self.weight_decay = weight_decay
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.prior = prior
        self.box_width = box_width
        self.class_weight = class_weight
        self.verbose = verbose
        self.random_state = random_state
        self.step_size = step_size
        self.margin = margin
        self.delta = delta
        self.min_eigenvalue = min_eigenvalue
        self.memory = memory
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.device = device

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RNNBoundClassifier:
        """Train the network and reduce the data to what the bounds need.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences. float32 and float64 are kept, other types become float64.
        y : array-like of shape (n,)
            Class labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Non-negative weights in the training loss; rows of weight 0 are left out.

        Returns
        -------
        self : RNNBoundClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid data or parameters, or when training diverges.
        TypeError
            For sparse data.
        """
        # Tensors made in inference mode could not be trained.
        with restored_on_failure(self), torch.inference_mode(False):
            self._check_parameters()
            X = check_sequences(self, X, reset=True, ensure_min_samples=2)
            if y is None:
                raise ValueError(
                    f"{type(self).__name__} requires y to be passed, but the target y is None"
                )
            y = column_or_1d(y, warn=True)
            assert_all_finite(y, input_name="y")
            check_classification_targets(y)
            check_consistent_length(X, y)
            X = as_steps(X, self.step_size)
            if sample_weight is not None:
                sample_weight = _check_sample_weight(
                    sample_weight, X, dtype=np.float64, ensure_non_negative=True
                )
                kept = sample_weight > 0
                if not kept.all():
                    X, y, sample_weight = X[kept], y[kept], sample_weight[kept]
            classes, targets = np.unique(y, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(
                    "y must hold two classes or more with samples of positive weight, and the "
                    f"number of classes is {len(classes)}: {classes.tolist()}"
                )
            weights = self._loss_weights(sample_weight, y, classes, targets)
            previous = getattr(self, "classes_", classes)
            if self.warm_start and not np.array_equal(previous, classes):
                raise ValueError(
                    f"warm_start needs the classes of the previous fit, {previous.tolist()}, and y "
                    f"has {classes.tolist()}"
                )
            self.classes_ = classes
            self._fit_network(Sample(X, targets, len(classes), weights))
        return self

    def _loss_weights(
        self,
        weights: np.ndarray | None,
        y: np.ndarray,
        classes: np.ndarray,
        targets: np.ndarray,
    ) -> np.ndarray | None:
        """Product of sample and class weights; None when all are equal."""
        if self.class_weight is not None:
            factors = compute_class_weight(
                self.class_weight, classes=classes, y=y, sample_weight=weights
            )
            if not np.isfinite(factors).all() or (factors < 0).any() or not factors.any():
                raise ValueError(
                    "class_weight must be finite and not negative, nor zero for every class; it "
                    f"gives the classes {classes.tolist()} the weights {factors.tolist()}"
                )
            weights = factors[targets] * (1.0 if weights is None else weights)
        if weights is None or (weights == weights[0]).all():
            return None
        # By a power of two, which rounds nothing: no sum of them overflows.
        return np.ldexp(weights, -np.frexp(weights.max())[1])

    def _check_outputs(self, name: str, other: Any) -> None:
        if not np.array_equal(self.classes_, other.classes_):
            raise ValueError(
                f"{name} must know the classes of y, {self.classes_.tolist()}, and it knows "
                f"{other.classes_.tolist()}"
            )

    # Predictions

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of the classes.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences; 3-D input may have another number of steps than in `fit`.

        Returns
        -------
        scores : ndarray of shape (n, k), or (n,) for two classes
            ``y = V h_L``; for two classes the difference ``y_1 - y_0``.
        """
        scores = self._finite_scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class labels.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.

        Returns
        -------
        y : ndarray of shape (n,)
            Labels of the largest scores.
        """
        scores = self._finite_scores(X)
        return self.classes_[scores.argmax(1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.

        Returns
        -------
        probabilities : ndarray of shape (n, k)
            Softmax of the scores; columns in the order of `classes_`.
        """
        return softmax(self._finite_scores(X), axis=1)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of the class probabilities.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.

        Returns
        -------
        log_probabilities : ndarray of shape (n, k)
            Log-softmax of the scores.
        """
        return log_softmax(self._finite_scores(X), axis=1)

    # Bounds

    def generalization_bound_(
        self, *, method: str = "paper", margin: float | None = None, delta: float | None = None
    ) -> float:
        """Bound on the probability of error on new data.

        Parameters
        ----------
        method : str, default="paper"
            Key of :data:`sklearn_rnnbound.BOUNDS`, or "paper": Theorem 3 when the network was
            trained with noise, else Theorem 2. Not ``"holdout"``, ``"occam"`` and ``"pac_bayes"``,
            which need data: :meth:`bound_report_` takes them.
        margin : float or None, default=None
            Margin alpha, counted as fixed beforehand. None: the parameter `margin`.
        delta : float or None, default=None
            Probability with which the bound may fail. None: the parameter `delta`.

        Returns
        -------
        bound : float
            The bound; never clipped to 1, and inf where it says nothing.

        Raises
        ------
        ValueError
            For an unknown method, or one that does not cover this network or needs data.
        """
        setting = self._asked(margin, delta)
        return self._certifier.bound(check_method(method), setting).value

    def bound_report_(
        self,
        X_test: Any = None,
        y_test: Any = None,
        *,
        X_train: Any = None,
        y_train: Any = None,
        methods: str | list[str] = "all",
        margin: float | None = None,
        delta: float | None = None,
        simultaneous: bool = False,
    ) -> BoundReport:
        """Bounds side by side, term by term.

        Parameters
        ----------
        X_test : array-like of shape (n, L, d) or (n, L * step_size), default=None
            Test data, which took no part in training or selection: for the bound ``"holdout"``.
            They move no other bound, but show the test error of what a bound speaks of.
        y_test : array-like of shape (n,), default=None
            Test labels.
        X_train : array-like of shape (n, L, d) or (n, L * step_size), default=None
            The training data of `fit` (rows of positive weight), for ``"occam"`` and
            ``"pac_bayes"``.
        y_train : array-like of shape (n,), default=None
            Training labels.
        methods : "all", str or list of str, default="all"
            Key or keys of :data:`sklearn_rnnbound.BOUNDS`. With "all", bounds that do not apply are
            left out with a line that says why.
        margin, delta : float or None, default=None
            As in :meth:`generalization_bound_`.
        simultaneous : bool, default=False
            Whether delta is shared out so that all bounds hold together.

        Returns
        -------
        report : BoundReport
            The bounds, in the order asked for. Its errors count a tie for the largest score, and
            a label that `fit` has not seen, as an error.

        Raises
        ------
        ValueError
            For an unknown method, one that does not cover this network or lacks its data, or
            training data that are not those of `fit`.
        """
        setting = self._asked(margin, delta, simultaneous)
        test, train = self._data(X_test, y_test, "test"), self._data(X_train, y_train, "train")
        return self._certifier.report(
            test, train, methods, setting, simultaneous=simultaneous, verbose=self.verbose
        )

    def bound_curve_(
        self,
        X_train: Any,
        y_train: Any,
        *,
        fractions: Sequence[float] = (1 / 8, 1 / 4, 1 / 2, 1),
        methods: str | list[str] = "all",
        margin: float | None = None,
        delta: float | None = None,
    ) -> BoundCurve:
        """Bounds of the trained network over the number of samples, term by term.

        The network stays as it is; the bounds hold for whatever weights and every sample, so each
        is recomputed on nested random parts of the training data. What shrinks is what more data
        can mend. The margin is the same for every part: with ``"auto"`` the one that suits all
        data, paid for as always.

        Parameters
        ----------
        X_train : array-like of shape (n, L, d) or (n, L * step_size)
            The training data of `fit`.
        y_train : array-like of shape (n,)
            Training labels.
        fractions : sequence of float, default=(1/8, 1/4, 1/2, 1)
            Parts of the data, in (0, 1].
        methods : "all", str or list of str, default="all"
            Key or keys of :data:`sklearn_rnnbound.BOUNDS`, but for ``"holdout"``.
        margin, delta : float or None, default=None
            As in :meth:`generalization_bound_`.

        Returns
        -------
        curve : BoundCurve
            One report per fraction, from the smallest to the largest.

        Raises
        ------
        ValueError
            For an unknown method, fractions out of range, or training data that are not those of
            `fit`.
        """
        setting = self._asked(margin, delta)
        train = self._data(X_train, y_train, "train")
        if train is None:
            raise ValueError("bound_curve_ needs X_train and y_train")
        return self._certifier.curve(
            train, fractions, methods, setting, memory=self.memory, verbose=self.verbose
        )

    def certified_radius_(self, X: Any) -> np.ndarray:
        """Radius within which no change of the input changes the prediction (paper, Lemma 8).

        All-zero steps at the front count as padding and are assumed to stay as they are; every
        other entry may change by less than the radius. For the predicted class p and another c,
        ``|(y_p - y_c)(x) - (y_p - y_c)(x')|`` is at most
        ``sum_t ||  |V_p - V_c| |W|^(L-t) |U|  ||_1 ||x_t - x'_t||_inf``.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.

        Returns
        -------
        radius : ndarray of shape (n,)
            Largest certified change of an entry, in the units of X; 0 where two classes tie. It is
            computed in float64 for the weights as they are.

        Raises
        ------
        ValueError
            For a cell of which no such radius is known.
        """
        X = self._sequences(X)
        return self._certifier.certified_radius(as_tensor(X))

    def fisher_rao_norm_(self, X: Any = None, y: Any = None, *, form: str = "linearized") -> float:
        """Fisher-Rao norm of the weights.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size), default=None
            Sequences over which to take the mean, as given. None: the training data, under the
            noise of the training when there was noise: the value that the bounds use.
        y : array-like of shape (n,), default=None
            Labels, which ``form="gradient"`` needs beside X.
        form : {"linearized", "gradient"}, default="linearized"
            "linearized" is the norm that enters the bounds, the root of
            ``E max_i [(tau(theta)c)_i]^2`` (paper, eq. 2); "gradient" is the root of
            ``E <theta, d loss/d theta>^2`` for the cross-entropy (Definition 1, Lemma 2).

        Returns
        -------
        norm : float
            The norm.

        Raises
        ------
        ValueError
            For an unknown form, labels that `fit` has not seen, or the linearised form of a cell
            that has none.
        """
        check_is_fitted(self)
        if form not in ("linearized", "gradient"):
            raise ValueError(f"form must be 'linearized' or 'gradient', got {form!r}")
        if X is None:
            if y is not None:
                raise ValueError("y was given without X")
            return self._certifier.fisher_rao_norm(form)
        if form == "linearized":
            return self._certifier.fisher_rao_norm(form, self._inputs(X))
        if y is None:
            raise ValueError("form='gradient' needs the labels y of X")
        return self._certifier.fisher_rao_norm(form, *self._labelled(X, y, known=True))

    def _data(self, X: Any, y: Any, part: str) -> Data | None:
        """Training or test data on the network's device; class number -1 for an unknown label."""
        if (X is None) != (y is None):
            raise ValueError(f"X_{part} and y_{part} go together: give both or none")
        if X is None:
            return None
        try:
            sequences, targets = self._labelled(X, y, known=part == "train")
        except (TypeError, ValueError) as error:
            raise type(error)(f"X_{part}, y_{part}: {error}") from error
        return sequences.to(self.net_.device), targets.to(self.net_.device)

    def _labelled(self, X: Any, y: Any, *, known: bool) -> Data:
        """Sequences and class numbers; -1, or an error, for labels that `fit` has not seen."""
        sequences, labels = self._inputs(X), column_or_1d(y)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(sequences, labels)
        positions = np.searchsorted(self.classes_, labels).clip(max=len(self.classes_) - 1)
        targets = np.where(self.classes_[positions] == labels, positions, -1)
        unknown = np.unique(labels[targets < 0])
        if (known and len(unknown)) or (targets < 0).all():
            raise ValueError(
                f"the labels must be among {self.classes_.tolist()}, and {unknown.tolist()} are not"
            )
        return sequences, torch.from_numpy(targets)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
