"""The estimator: parameters, validation, fit, predict; the bound methods come with it."""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_consistent_length, column_or_1d
from sklearn.utils._param_validation import (
    HasMethods,
    StrOptions,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_is_fitted,
    check_memory,
    validate_data,
)

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.bounds.peeling import recurrence_budget
from sklearn_rnnbound.certification import BoundMethods
from sklearn_rnnbound.constraints import Radius, WeightConstraints, row_norm
from sklearn_rnnbound.fitting import (
    OPTIMIZERS,
    Fit,
    Sample,
    Start,
    check_parameters,
    check_sample,
    first_weights,
    largest_batch,
    make_net,
    prepare,
    resume,
)
from sklearn_rnnbound.network import (
    RecurrentNetwork,
    Weights,
    torch_threads,
)
from sklearn_rnnbound.noise import InputNoise, input_chunks
from sklearn_rnnbound.parameters import Number, NumberPair
from sklearn_rnnbound.spectrum import min_eigenvalue, whitened_norm
from sklearn_rnnbound.state import FittedClassifier, restored, versioned
from sklearn_rnnbound.statistics import SampleStatistics, box_statistics, sample_statistics
from sklearn_rnnbound.training import ArrayWeights, as_tensor, as_tensors, train
from sklearn_rnnbound.validation import (
    DTYPES,
    as_array_like,
    as_labels,
    as_steps,
    as_weights,
    check_prior,
    check_sequences,
    conversion,
    resolve_device,
    restored_on_failure,
)

__all__ = ["RNNBoundClassifier"]

# Below this many multiplications a step, starting torch threads costs more than they save.
_WORK_FOR_THREADS = 2**24


_RADIUS = [Number(Real, 0, None, closed="left"), NumberPair(Real, 0, None, closed="left"), None]
_POSITIVE_OR_NONE = [Number(Real, 0, None, closed="neither"), None]


class RNNBoundClassifier(BoundMethods, ClassifierMixin, BaseEstimator):
    """Recurrent classifier that comes with a generalization bound.

    The network is ``h_t = act(U x_t + W h_{t-1})`` with scores ``y = V h_L`` and without biases,
    trained by cross-entropy or by the ramp loss. Noise on the input, constraints on the norms of
    U, W and V and gradient clipping are the regularisers that the bounds of Tu, He & Tao (2020)
    speak of; after `fit` the bound methods say what these and other bounds are worth, term by term.

    Parameters
    ----------
    hidden_size : int, default=64
        Number m of hidden units, at most 32,768.
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
    n_threads : int or None, default=None
        Number of torch threads, at most 1,024, during `fit` and predictions. None: one for small
        networks, else what torch is set to. For small networks more than one can be many times
        slower.

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
        The fitted net. Its `history` has ``epoch`` and ``train_loss``; with `callbacks` it has all
        that skorch records.
    U_, W_, V_ : ndarray of shapes (m, d), (m, m), (k, m)
        Weights.
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
        # With more units, or threads below, than a machine holds the process ends, not the fit.
        "hidden_size": [Number(Integral, 1, 2**15, closed="both")],
        "activation": [StrOptions({"relu", "tanh"})],
        "noise_std": [Number(Real, 0, None, closed="left")],
        "noise": [StrOptions({"gaussian", "uniform", "laplace"})],
        "beta_u": _RADIUS,
        "beta_w": _RADIUS,
        "beta_v": _RADIUS,
        "unit_types": [Number(Integral, 1, 2, closed="both")],
        "fisher_rao_max": _POSITIVE_OR_NONE,
        "input_bound": _POSITIVE_OR_NONE,
        "gradient_clip_norm": _POSITIVE_OR_NONE,
        "gradient_clip_value": _POSITIVE_OR_NONE,
        "weight_decay": [Number(Real, 0, None, closed="left")],
        "loss": [StrOptions({"cross_entropy", "ramp"})],
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "learning_rate": [Number(Real, 0, None, closed="neither")],
        "max_iter": [Number(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Number(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "tol": [Number(Real, 0, None, closed="left")],
        "n_iter_no_change": [Number(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Number(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "prior": [HasMethods(["fit", "predict"]), None],
        "box_width": [Number(Real, 0, 2, closed="both"), None],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "step_size": [Number(Integral, 1, None, closed="left")],
        "margin": [StrOptions({"auto"}), Number(Real, 0, None, closed="neither")],
        "delta": [Number(Real, 0, 1, closed="neither")],
        "min_eigenvalue": [StrOptions({"estimate"}), Number(Real, 0, None, closed="left")],
        "memory": [str, HasMethods(["cache"]), None],
        "checkpoint": [str, os.PathLike, None],
        "callbacks": [list, None],
        "device": [str],
        "n_threads": [Number(Integral, 1, 1024, closed="both"), None],
    }

    def __init__(
        self,
        hidden_size: int = 64,
        *,
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
        n_threads: int | None = None,
    ) -> None:
        self.hidden_size = hidden_size
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
        self.n_threads = n_threads

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
            fit = self._prepare(X, y, sample_weight)
            training, data = fit.training, fit.training.data
            with self._threads(len(data), data.X.shape[2]):
                if self.checkpoint is not None:
                    resume(self, fit, self.checkpoint)
                train([training])
                self._conclude(fit)
            if training.checkpoint is not None:
                training.checkpoint.remove()
        return self

    def _prepare(self, X: Any, y: Any, sample_weight: Any) -> Fit:
        """Everything of a fit that comes before training."""
        check_parameters(self)
        X, y = self._validate(X, y)
        sample = check_sample(self, X, y, sample_weight)
        start = self._start(sample)
        with self._threads(*sample.X.shape[::2]):
            return prepare(self, sample, start)

    def _conclude(self, fit: Fit) -> None:
        """Everything of a fit that comes after training."""
        net, data, record = fit.training.net, fit.training.data, fit.training.record
        # Callbacks may have moved the weights after the last step.
        net.constraints.project_(*net.module_.weights)
        net.limit_fisher_rao_(data.X)
        net.train_split = None
        self.net_ = net
        self.device_ = net.device
        self.classes_ = fit.classes
        self.U_, self.W_, self.V_ = (
            weight.detach().cpu().numpy().copy() for weight in net.module_.weights
        )
        self.beta_u_ = row_norm(self.U_, net.constraints.beta_u)
        self.beta_w_ = row_norm(self.W_, net.constraints.beta_w)
        self.beta_v_ = row_norm(self.V_, net.constraints.beta_v)
        self.n_iter_ = len(record.loss_curve)
        self.loss_curve_ = record.loss_curve
        self.best_loss_ = None if self.early_stopping else min(record.loss_curve)
        self.validation_scores_ = record.validation_scores if self.early_stopping else None
        self._setting = fit.setting
        self._fitted_box = net.constraints.box
        self._prior_weights = fit.start.prior_weights
        self._n_prior = fit.start.n_prior
        self._n_learned = fit.n_learned
        self._init_seed = fit.init_seed
        self._statistics = self._reduce(data.X, data.targets)
        if not record.converged:
            warnings.warn(
                f"max_iter={self.max_iter} epochs reached, and training has not converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _validate(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Training data as arrays of shapes (n, L, d) and (n,), with n_features_in_ set."""
        X, ndim = as_array_like(X)
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        with conversion("y"):
            y = column_or_1d(as_labels(y), warn=True)
            check_classification_targets(y)
        if ndim == 3:
            X = check_sequences(X, ndim, self, min_samples=2)
            self.n_features_in_ = X.shape[2]
            if hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        else:
            with conversion("X"):
                X = validate_data(self, X, dtype=DTYPES, ensure_min_samples=2)
        with conversion("X and y"):
            check_consistent_length(X, y)
        self._fitted_on_3d = ndim == 3
        return as_steps(X, self.step_size), y

    def _validate_new(self, X: Any) -> np.ndarray:
        """Sequences for prediction, of shape (n, L, d)."""
        check_is_fitted(self)
        X, ndim = as_array_like(X)
        d = self.U_.shape[1]
        if ndim == 3:
            X = check_sequences(X, ndim, self)
            if X.shape[2] != d:
                raise ValueError(
                    f"X has {X.shape[2]} features per step, but {type(self).__name__} was fitted "
                    f"with {d}"
                )
            return as_steps(X, self.step_size)
        if ndim == 2 and self._fitted_on_3d:
            raise ValueError(
                f"X has 2 dimensions, but {type(self).__name__} was fitted on sequences of shape "
                f"(n, L, {d}); reshape X to three dimensions"
            )
        with conversion("X"):
            X = validate_data(self, X, dtype=DTYPES, reset=False)
        return as_steps(X, self.step_size)

    def _validate_inputs(self, X: Any) -> np.ndarray:
        """Sequences for the network, of shape (n, L, d) and in the dtype of its weights."""
        X = self._validate_new(X)
        with np.errstate(over="ignore"):
            inputs = X.astype(self.U_.dtype, copy=False)
        if inputs is not X and not np.isfinite(inputs).all():
            raise ValueError(
                f"X holds numbers out of the range of {inputs.dtype}, the dtype of the data that "
                f"{type(self).__name__} was fitted on"
            )
        return inputs

    def _start(self, sample: Sample) -> Start:
        """What the previous fit and `prior` have left for the fit of a sample."""
        start = Start()
        if self.warm_start and hasattr(self, "U_"):
            self._check_previous(sample)
            start = Start(self._weights(), self._n_learned, self._init_seed)
        prior = self._fitted_prior(sample)
        if prior is None:
            return start
        return replace(start, prior_weights=prior._array_weights(), n_prior=prior._n_learned)

    def _check_previous(self, sample: Sample) -> None:
        """Raise ValueError unless the weights of the previous fit suit a sample."""
        if not np.array_equal(sample.classes, self.classes_):
            raise ValueError(
                f"warm_start needs the classes of the previous fit, {self.classes_.tolist()}, "
                f"and y has {sample.classes.tolist()}"
            )
        if self.U_.shape != (self.hidden_size, sample.X.shape[2]):
            raise ValueError(
                f"warm_start needs hidden_size and features per step of the previous fit, "
                f"{self.U_.shape}, and got {(self.hidden_size, sample.X.shape[2])}"
            )

    def _array_weights(self) -> ArrayWeights:
        return self.U_, self.W_, self.V_

    def _weights(self) -> Weights:
        return as_tensors(self._array_weights())

    def _fitted_prior(self, sample: Sample) -> RNNBoundClassifier | None:
        """The classifier `prior`, if it is one that the fit of a sample can start from."""
        if self.prior is self:
            raise ValueError("prior must be another classifier, fitted on other data")
        prior = check_prior(self.prior, RNNBoundClassifier)
        if prior is None:
            return None
        X, classes = sample.X, sample.classes
        ours = (X.shape[2], self.hidden_size, self.activation, self.unit_types)
        m, d = prior.U_.shape
        theirs = (d, m, prior._setting.activation, prior._setting.unit_types)
        if ours != theirs:
            raise ValueError(
                "prior must have the features per step, hidden_size, activation and unit_types of "
                f"this network, {ours}, and it has {theirs}"
            )
        if not np.array_equal(classes, prior.classes_):
            raise ValueError(
                f"prior must know the classes of y, {classes.tolist()}, and it knows "
                f"{prior.classes_.tolist()}"
            )
        if prior._recognises(
            as_tensor(X).to(prior._weights()[0]), torch.from_numpy(sample.targets)
        ):
            raise ValueError(
                "prior was fitted on these very data; its weights must come from data disjoint "
                "from those of fit, or no bound that uses them holds"
            )
        return prior

    def _reference_weights(self) -> Weights | None:
        """Weights learned on other data, if any."""
        return None if self._prior_weights is None else as_tensors(self._prior_weights)

    def _prior_mean(self) -> Weights:
        """Centre of the PAC-Bayes prior: the prior's weights, or the initial ones again."""
        if self._prior_weights is not None:
            return as_tensors(self._prior_weights)
        constraints = _fitted_constraints(self._setting)
        shape = self.U_.shape[1], len(self.U_), len(self.V_)
        weights = first_weights(shape, self._init_seed, constraints)
        constraints.project_(*weights)
        return weights

    def _threads(self, rows: int, n_features: int) -> AbstractContextManager[None]:
        """Context with the number of torch threads that suits a minibatch of at most `rows`."""
        if self.n_threads is not None:
            return torch_threads(int(self.n_threads))
        m = int(self.hidden_size)
        work = min(rows, largest_batch(self)) * m * (m + n_features)
        return torch_threads(1 if work < _WORK_FOR_THREADS else None)

    def _reduce(self, inputs: torch.Tensor, targets: torch.Tensor) -> SampleStatistics:
        """What the bounds need of a sample and of the fitted network."""
        X = inputs.cpu().numpy()
        floor = self._second_moment_floor(X)
        sample = sample_statistics(
            self.net_.module_,
            inputs,
            targets,
            n_classes=len(self.classes_),
            min_eigenvalue=floor,
            whitened_norm=self._whitened_norm(X, inputs) if floor > 0 else None,
            norms=(self.beta_u_, self.beta_w_, self.beta_v_),
            noise=self.net_.noise,
            seed=self.net_.evaluation_seed,
            decay=recurrence_budget(self._setting),
        )
        if self._fitted_box is None:
            return sample
        box = self._fitted_box
        lower, upper = box.ends(inputs)
        return replace(
            sample,
            box=box_statistics(
                lower,
                upper,
                as_tensors(box.center, like=inputs),
                inputs,
                self._setting.activation,
                width=box.width,
                n_prior=self._n_prior,
            ),
        )

    def _second_moment_floor(self, X: np.ndarray) -> float:
        if self.min_eigenvalue != "estimate":
            return float(self.min_eigenvalue)
        if self.verbose:
            print("smallest eigenvalue of the second moment ...", flush=True)
        return float(check_memory(self.memory).cache(min_eigenvalue)(X))

    def _whitened_norm(self, X: np.ndarray, inputs: torch.Tensor) -> float | None:
        if self.min_eigenvalue != "estimate" or self._setting.activation != "relu":
            return None
        if self.verbose:
            print("exact trace of the linear part ...", flush=True)
        net = self.net_
        if net.noise is None:
            return float(check_memory(self.memory).cache(whitened_norm)(X, [X]))
        chunks = input_chunks(inputs, net.noise, net.evaluation_seed)
        variance = self._setting.noise_std * self._setting.noise_std
        return whitened_norm(X, (chunk.cpu().numpy() for chunk in chunks), variance)

    # Predictions

    def _scores(self, X: Any) -> np.ndarray:
        """Scores y of shape (n, k)."""
        inputs = as_tensor(self._validate_inputs(X))
        with self._threads(len(inputs), inputs.shape[2]):
            return self.net_.scores(inputs).cpu().numpy()

    def _finite_scores(self, X: Any) -> np.ndarray:
        """Scores of shape (n, k), from which a prediction can be made."""
        scores = self._scores(X)
        overflowing = np.flatnonzero(~np.isfinite(scores).all(1))
        if len(overflowing):
            raise ValueError(
                f"the scores of {len(overflowing)} sequences, first of number {overflowing[0]}, "
                f"leave the range of {scores.dtype}: scale X as the training data were"
            )
        return scores

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
        winners = self._finite_scores(X).argmax(1)
        return self.classes_[winners]

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

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy of the predictions.

        Parameters
        ----------
        X : array-like of shape (n, L, d) or (n, L * step_size)
            Sequences.
        y : array-like of shape (n,)
            Class labels.
        sample_weight : array-like of shape (n,) or None, default=None
            Non-negative weights of the samples.

        Returns
        -------
        accuracy : float
            Share of right labels.
        """
        y = as_labels(y)
        predicted = self.predict(X)
        with conversion("X and y"):
            check_consistent_length(predicted, y)
        weights = None if sample_weight is None else as_weights(sample_weight, predicted)
        with conversion("y"):
            return float(accuracy_score(y, predicted, sample_weight=weights))

    # scikit-learn and persistence

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "net_" in state:
            # The weights are in U_, W_, V_; neither the device nor user callbacks travel.
            net = state.pop("net_")
            state.update(callbacks=None, _evaluation_seed=net.evaluation_seed)
            del state["device_"]
        return versioned(state, FittedClassifier)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = restored(self, state, FittedClassifier)
        seed = state.pop("_evaluation_seed", None)
        super().__setstate__(state)
        if seed is None:
            return
        with torch.inference_mode(False):
            U, W, V = self._weights()
            # A device that this machine lacks, or that has no room, is no reason to refuse.
            with suppress(ValueError, RuntimeError):
                device = resolve_device(self.device)
                U, W, V = (weight.to(device) for weight in (U, W, V))
            setting = self._setting
            module = RecurrentNetwork(U, W, V, setting.activation)
            self.net_ = make_net(self, module, _fitted_constraints(setting), seed)
            # That of `fit`, whatever the parameters were set to since.
            noisy = setting.noise_std > 0
            self.net_.noise = InputNoise(setting.noise, setting.noise_std) if noisy else None
        self.device_ = self.net_.device


def _fitted_constraints(setting: Setting) -> WeightConstraints:
    """Constraints of a fit, its box aside."""
    return WeightConstraints(setting.beta_u, setting.beta_w, setting.beta_v, setting.unit_types)
