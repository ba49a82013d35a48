"""The estimator: parameters, validation, fit, predict and the bound methods."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_random_state, compute_class_weight
from sklearn.utils._param_validation import (
    HasMethods,
    StrOptions,
)
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_is_fitted,
    check_memory,
    check_X_y,
    validate_data,
)

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.bounds.peeling import recurrence_budget
from sklearn_rnnbound.certification import BoundMethods
from sklearn_rnnbound.checkpoint import Checkpoint, check_checkpoint, fingerprint
from sklearn_rnnbound.constraints import (
    Box,
    Radius,
    WeightConstraints,
    row_norm,
)
from sklearn_rnnbound.network import (
    RecurrentNetwork,
    Weights,
    initial_weights,
    torch_threads,
)
from sklearn_rnnbound.noise import InputNoise, input_chunks
from sklearn_rnnbound.parameters import INT32_MAX, Number, NumberPair
from sklearn_rnnbound.spectrum import min_eigenvalue, whitened_norm
from sklearn_rnnbound.state import FittedClassifier, restored, versioned
from sklearn_rnnbound.statistics import SampleStatistics, box_statistics, sample_statistics
from sklearn_rnnbound.training import (
    ConstrainedNet,
    RampLoss,
    Sequences,
    Stopping,
    Training,
    TrainingRecord,
    as_tensor,
    train,
)
from sklearn_rnnbound.validation import (
    DTYPES,
    as_array_like,
    as_labels,
    as_radius,
    as_steps,
    as_weights,
    check_callbacks,
    check_prior,
    check_sequences,
    conversion,
    resolve_device,
    restored_on_failure,
)

__all__ = ["Fit", "RNNBoundClassifier"]

_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}
# Below this many multiplications a step, starting torch threads costs more than they save.
_WORK_FOR_THREADS = 2**24

# Parameters that training does not read, or not beside the tensors, device and threads it is given.
_READ_BEFORE_TRAINING = {
    "callbacks",
    "checkpoint",
    "class_weight",
    "delta",
    "device",
    "input_bound",
    "margin",
    "memory",
    "min_eigenvalue",
    "n_threads",
    "prior",
    "step_size",
    "verbose",
    "warm_start",
}

ArrayWeights = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Fit:
    """A fit between its checks and its end.

    Parameters
    ----------
    training : Training
        The net with its data.
    classes : ndarray of shape (k,)
        Class labels.
    weighted : bool
        Whether the samples have weights.
    n_learned : int
        Number of samples that the weights will have learned from, those of a prior included.
    """

    training: Training
    classes: np.ndarray
    weighted: bool
    n_learned: int


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
        Number m of hidden units.
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
        Number of torch threads during `fit` and predictions. None: one for small networks, else
        what torch is set to. For small networks more than one can be many times slower.

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
        "hidden_size": [Number(Integral, 1, INT32_MAX, closed="both")],
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
        "optimizer": [StrOptions(set(_OPTIMIZERS))],
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
        "n_threads": [Number(Integral, 1, INT32_MAX, closed="both"), None],
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
                    self._resume(training, self.checkpoint)
                train([training])
                self._conclude(fit)
            if training.checkpoint is not None:
                training.checkpoint.remove()
        return self

    def _prepare(self, X: Any, y: Any, sample_weight: Any) -> Fit:
        """Everything of a fit that comes before training."""
        constraints = self._constraints()
        if self.loss == "ramp" and isinstance(self.margin, str):
            raise ValueError(
                f"loss='ramp' is the ramp loss at a margin fixed beforehand: margin must be a "
                f"number > 0, got {self.margin!r}"
            )
        device = resolve_device(self.device)
        check_callbacks(self.callbacks)
        if self.checkpoint is not None:
            check_checkpoint(self.checkpoint, self.random_state, self.callbacks)
        X, y = self._validate(X, y)
        for name in ("learning_rate", "weight_decay"):
            if getattr(self, name) > np.finfo(X.dtype).max:
                raise ValueError(f"{name}={getattr(self, name)} is out of the range of {X.dtype}")
        weights = None
        if sample_weight is not None:
            weights = as_weights(sample_weight, X)
            if not weights.all():
                X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        classes, targets = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must hold two classes or more, but has one class: {classes[0]}")
        weights = self._loss_weights(weights, y, classes, targets)
        prior = self._fitted_prior(X, classes)
        previous = self._previous_weights(X, classes)
        n_before = 0 if previous is None else self._n_learned
        if prior is not None and prior._recognises(
            as_tensor(X).to(_tensors(prior._array_weights())[0]), torch.from_numpy(targets)
        ):
            raise ValueError(
                "prior was fitted on these very data; its weights must come from data disjoint "
                "from those of fit, or no bound that uses them holds"
            )
        self._check_input_bound(X)
        self._check_min_eigenvalue(X)
        self._prior_weights = None if prior is None else prior._array_weights()
        self._n_prior = 0 if prior is None else prior._n_learned
        constraints = self._with_box(constraints, X.dtype)

        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=5)
        init_seed, noise_seed, shuffle_seed, evaluation_seed, split_seed = map(int, seeds)
        data, validation = self._resident_data(X, targets, weights, device, split_seed)
        with self._threads(len(data), X.shape[2]):
            if previous is None and self._prior_weights is not None:
                previous = _tensors(self._prior_weights)
            if not hasattr(self, "_init_seed") or not (self.warm_start and hasattr(self, "U_")):
                # The centre of the PAC-Bayes prior: weights that no data have touched.
                self._init_seed = init_seed
            if previous is None:
                shape = X.shape[2], int(self.hidden_size), len(classes)
                previous = _first_weights(shape, init_seed, constraints)
            U, W, V = (value.to(device, data.X.dtype) for value in previous)
            module = RecurrentNetwork(U, W, V, self.activation)
            constraints.project_(*module.weights)
            optimizer, options = _OPTIMIZERS[self.optimizer]
            net = self._make_net(
                module,
                constraints,
                evaluation_seed,
                noise_generator=torch.Generator(device).manual_seed(noise_seed),
                shuffle_generator=(
                    torch.Generator().manual_seed(shuffle_seed) if self.shuffle else None
                ),
                clip_norm=self.gradient_clip_norm,
                clip_value=self.gradient_clip_value,
                batch_size=self._effective_batch_size(len(data)),
                optimizer=optimizer,
                lr=float(self.learning_rate),
                optimizer__weight_decay=float(self.weight_decay),
                **{f"optimizer__{key}": option for key, option in options.items()},
                train_split=None if validation is None else lambda part: (part, validation),
                callbacks=self.callbacks,
            )
        # Arithmetic with a NumPy scalar would be done in its type, be it float16 or int8.
        stopping = Stopping(int(self.max_iter), float(self.tol), int(self.n_iter_no_change))
        training = Training(net, data, validation, stopping, self._progress(net, data))
        n_learned = len(X) + self._n_prior + n_before
        return Fit(training, classes, weights is not None, n_learned)

    def _resume(self, training: Training, folder: str | os.PathLike[str]) -> None:
        """Give the training its checkpoint, and go on from there where it was interrupted."""
        net, data, validation = training.net, training.data, training.validation
        settings = [
            (type(self).__module__, type(self).__qualname__),
            net.module_.theta.device.type,
            # The order of summation depends on it.
            torch.get_num_threads(),
            getattr(net.criterion_, "margin", None),
            *sorted(
                (name, value)
                for name, value in self.get_params(deep=False).items()
                if name not in _READ_BEFORE_TRAINING
            ),
        ]
        tensors = [
            *(data.X, data.targets, data.weights, data.rows),
            None if validation is None else validation.rows,
            net.module_.theta,
            *(() if self._prior_weights is None else _tensors(self._prior_weights)),
        ]
        checkpoint = Checkpoint(folder, fingerprint(settings, tensors))
        if checkpoint.read(training.restore) and self.verbose:
            epoch = len(training.record.loss_curve)
            print(f"resumed at epoch {epoch} from {checkpoint.path}", flush=True)
        training.checkpoint = checkpoint

    def _conclude(self, fit: Fit) -> None:
        """Everything of a fit that comes after training."""
        net, data, record = fit.training.net, fit.training.data, fit.training.record
        # Callbacks may have moved the weights after the last step.
        net.constraints.project_(*net.module_.weights)
        net.limit_fisher_rao_(data.X)
        net.train_split = None
        self._keep(net, fit.classes, record)
        self._setting = self._make_setting(net.constraints, weighted=fit.weighted)
        self._fitted_box = net.constraints.box
        self._n_learned = fit.n_learned
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
        y = as_labels(y)
        options: dict[str, Any] = {"dtype": DTYPES, "ensure_min_samples": 2}
        with conversion("X"):
            if ndim == 3:
                X, y = check_X_y(X, y, ensure_2d=False, allow_nd=True, estimator=self, **options)
                self.n_features_in_ = X.shape[2]
                if hasattr(self, "feature_names_in_"):
                    del self.feature_names_in_
            else:
                X, y = validate_data(self, X, y, **options)
        self._fitted_on_3d = ndim == 3
        with conversion("y"):
            check_classification_targets(y)
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

    def _constraints(self) -> WeightConstraints:
        if self.unit_types == 2 and self.hidden_size < 2:
            raise ValueError("unit_types=2 needs hidden_size >= 2, one unit of each type at least")
        return WeightConstraints(
            as_radius(self.beta_u), as_radius(self.beta_w), as_radius(self.beta_v), self.unit_types
        )

    def _loss_weights(
        self,
        weights: np.ndarray | None,
        y: np.ndarray,
        classes: np.ndarray,
        targets: np.ndarray,
    ) -> np.ndarray | None:
        """Product of sample and class weights; None when all are equal."""
        if self.class_weight is not None:
            factors = self._class_factors(y, classes, weights)
            weights = factors[targets] * (1.0 if weights is None else weights)
        if weights is None or (weights == weights[0]).all():
            return None
        return weights

    def _class_factors(
        self, y: np.ndarray, classes: np.ndarray, weights: np.ndarray | None
    ) -> np.ndarray:
        """Weights of the classes by `class_weight`, the largest of them about 1."""
        try:
            with conversion("class_weight"):
                factors = compute_class_weight(
                    self.class_weight, classes=classes, y=y, sample_weight=weights
                )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"class_weight must give the classes {classes.tolist()} numbers: {error}"
            ) from error
        if not np.isfinite(factors).all() or (factors < 0).any() or not factors.any():
            raise ValueError(
                "class_weight must be finite and not negative, nor zero for every class; it gives "
                f"the classes {classes.tolist()} the weights {factors.tolist()}"
            )
        return np.ldexp(factors, -np.frexp(factors.max())[1])

    def _previous_weights(self, X: np.ndarray, classes: np.ndarray) -> Weights | None:
        """Weights to go on from under `warm_start`, else None."""
        if not (self.warm_start and hasattr(self, "U_")):
            return None
        if not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"warm_start needs the classes of the previous fit, {self.classes_.tolist()}, "
                f"and y has {classes.tolist()}"
            )
        if self.U_.shape != (self.hidden_size, X.shape[2]):
            raise ValueError(
                f"warm_start needs hidden_size and features per step of the previous fit, "
                f"{self.U_.shape}, and got {(self.hidden_size, X.shape[2])}"
            )
        return self._weights()

    def _array_weights(self) -> ArrayWeights:
        return self.U_, self.W_, self.V_

    def _weights(self) -> Weights:
        return _tensors(self._array_weights())

    def _fitted_prior(self, X: np.ndarray, classes: np.ndarray) -> RNNBoundClassifier | None:
        """The classifier `prior`, if it is one that this fit can start from."""
        if self.prior is None and self.box_width is not None:
            raise ValueError("box_width needs prior, the classifier whose weights it surrounds")
        if self.prior is self:
            raise ValueError("prior must be another classifier, fitted on other data")
        prior = check_prior(self.prior, RNNBoundClassifier)
        if prior is None:
            return None
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
        return prior

    def _with_box(self, constraints: WeightConstraints, dtype: np.dtype[Any]) -> WeightConstraints:
        """The constraints with the box of `box_width`, in which every radius must hold."""
        if self.box_width is None or self._prior_weights is None:
            return constraints
        if self.fisher_rao_max is not None:
            raise ValueError("fisher_rao_max rescales V out of its box: leave out one of the two")
        box = Box(self._prior_weights, float(self.box_width))
        return constraints.with_box(box, torch.from_numpy(np.zeros(0, dtype)))

    def _reference_weights(self) -> Weights | None:
        """Weights learned on other data, if any."""
        return None if self._prior_weights is None else _tensors(self._prior_weights)

    def _prior_mean(self) -> Weights:
        """Centre of the PAC-Bayes prior: the prior's weights, or the initial ones again."""
        if self._prior_weights is not None:
            return _tensors(self._prior_weights)
        constraints = _fitted_constraints(self._setting)
        shape = self.U_.shape[1], len(self.U_), len(self.V_)
        weights = _first_weights(shape, self._init_seed, constraints)
        constraints.project_(*weights)
        return weights

    def _check_input_bound(self, X: np.ndarray) -> None:
        if self.input_bound is None:
            return
        largest, bound = max(float(X.max()), -float(X.min())), float(self.input_bound)
        if largest > bound:
            raise ValueError(
                f"input_bound={bound:g} does not hold: X has an entry of magnitude "
                f"{largest:g}. Scale or clip X, by a rule fixed before the data were seen"
            )

    def _check_min_eigenvalue(self, X: np.ndarray) -> None:
        if isinstance(self.min_eigenvalue, str) or self.min_eigenvalue == 0:
            return
        mean_square = float(np.einsum("ntd,ntd->", X, X, dtype=np.float64)) / X.size
        # No more than the mean of all eigenvalues in the population, of which this is an estimate.
        if float(self.min_eigenvalue) > 2 * mean_square:
            warnings.warn(
                f"min_eigenvalue={self.min_eigenvalue:g} is far above the mean squared entry of X, "
                f"{mean_square:.4g}, which it cannot exceed in the population: bounds that use it "
                "will hardly hold",
                stacklevel=5,
            )

    def _resident_data(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None,
        device: torch.device,
        split_seed: int,
    ) -> tuple[Sequences, Sequences | None]:
        """Training data, on the device if it has room for them, and the validation part."""
        inputs = as_tensor(X)
        if _has_room(device, inputs.nbytes):
            inputs = inputs.to(device)
        numbers = torch.from_numpy(targets).to(inputs.device)
        loss_weights = None if weights is None else as_tensor(weights).to(inputs)
        if not self.early_stopping:
            return Sequences(inputs, numbers, loss_weights), None
        try:
            parts = train_test_split(
                np.arange(len(targets)),
                test_size=float(self.validation_fraction),
                stratify=targets,
                random_state=split_seed,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping cannot hold out validation_fraction={self.validation_fraction} of "
                f"every class: {error}"
            ) from error
        rows, held_out = (torch.from_numpy(np.sort(part)).to(inputs.device) for part in parts)
        return (
            Sequences(inputs, numbers, loss_weights, rows),
            Sequences(inputs, numbers, loss_weights, held_out),
        )

    def _largest_batch(self) -> int:
        """Rows of a minibatch, where there are enough."""
        return 200 if isinstance(self.batch_size, str) else int(self.batch_size)

    def _effective_batch_size(self, n: int) -> int:
        size = self._largest_batch()
        if self.batch_size != "auto" and size > n:
            warnings.warn(
                f"batch_size={self.batch_size} is larger than the training sample and is clipped "
                f"to {n}.",
                stacklevel=5,
            )
        return min(size, n)

    def _threads(self, rows: int, n_features: int) -> AbstractContextManager[None]:
        """Context with the number of torch threads that suits a minibatch of at most `rows`."""
        if self.n_threads is not None:
            return torch_threads(int(self.n_threads))
        m = int(self.hidden_size)
        work = min(rows, self._largest_batch()) * m * (m + n_features)
        return torch_threads(1 if work < _WORK_FOR_THREADS else None)

    def _make_net(
        self,
        module: RecurrentNetwork,
        constraints: WeightConstraints,
        evaluation_seed: int,
        **options: Any,
    ) -> ConstrainedNet:
        sigma = float(self.noise_std)
        return ConstrainedNet(
            module,
            constraints=constraints,
            fisher_rao_max=None if self.fisher_rao_max is None else float(self.fisher_rao_max),
            noise=InputNoise(self.noise, sigma) if sigma > 0 else None,
            evaluation_seed=evaluation_seed,
            criterion=(
                torch.nn.CrossEntropyLoss(reduction="none")
                if isinstance(self.margin, str) or self.loss == "cross_entropy"
                else RampLoss(float(self.margin))
            ),
            classes=list(range(module.shape[2])),
            device=str(module.theta.device),
            **options,
        ).initialize()

    def _progress(self, net: ConstrainedNet, data: Sequences) -> Callable[[TrainingRecord], None]:
        """Function that prints the line of an epoch, or does nothing."""

        def print_line(record: TrainingRecord) -> None:
            predicted = net.scores(data.X).argmax(1).to(data.targets.device)
            error = float((predicted != data.targets).double().mean())
            norms = (row_norm(weight.cpu().numpy()) for weight in net.module_.weights)
            line = (
                f"epoch {len(record.loss_curve):>4}/{self.max_iter}"
                f"  loss {record.loss_curve[-1]:8.4f}  train error {error:6.4f}"
                "  norms U {:.3g}, W {:.3g}, V {:.3g}".format(*norms)
            )
            if record.validation_scores:
                line += f"  validation accuracy {record.validation_scores[-1]:6.4f}"
            print(line, flush=True)

        return print_line if self.verbose else lambda record: None

    def _keep(
        self,
        net: ConstrainedNet,
        classes: np.ndarray,
        record: TrainingRecord,
    ) -> None:
        """Set the fitted attributes that come from training."""
        self.net_ = net
        self.device_ = net.device
        self.classes_ = classes
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
                _tensors(box.center, like=inputs),
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

    def _make_setting(self, constraints: WeightConstraints, *, weighted: bool) -> Setting:
        notes = [
            "samples drawn independently from one law",
            "features and hyper-parameters fixed before this sample was seen; a preprocessing "
            "fitted on it, or the choice among candidates, makes the bound an estimate",
        ]
        if weighted:
            notes.append("the risk is the unweighted one, although training was weighted")
        if self.early_stopping:
            notes.append("all rows count, those of early stopping's validation part too")
        return Setting(
            beta_u=constraints.beta_u,
            beta_w=constraints.beta_w,
            beta_v=constraints.beta_v,
            unit_types=self.unit_types,
            fisher_rao_max=None if self.fisher_rao_max is None else float(self.fisher_rao_max),
            input_bound=None if self.input_bound is None else float(self.input_bound),
            min_eigenvalue_known=self.min_eigenvalue != "estimate",
            activation=self.activation,
            noise=self.noise,
            noise_std=float(self.noise_std),
            notes=tuple(notes),
        )

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
        weights = None if sample_weight is None else as_weights(sample_weight, y)
        with conversion("y"):
            return super().score(X, y, weights)

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
        try:
            device = resolve_device(self.device)
        except ValueError:
            # Trained on a device that this machine lacks.
            device = torch.device("cpu")
        with torch.inference_mode(False):
            U, W, V = (weight.to(device) for weight in self._weights())
            setting = self._setting
            module = RecurrentNetwork(U, W, V, setting.activation)
            self.net_ = self._make_net(module, _fitted_constraints(setting), seed)
            # That of `fit`, whatever the parameters were set to since.
            noisy = setting.noise_std > 0
            self.net_.noise = InputNoise(setting.noise, setting.noise_std) if noisy else None
        self.device_ = self.net_.device


def _has_room(device: torch.device, n_bytes: int) -> bool:
    """Whether data of a size may lie on a device; else minibatches travel there one by one."""
    if device.type != "cuda":
        return True
    # The other half is for what training makes of a minibatch, and for other programs.
    return n_bytes <= torch.cuda.mem_get_info(device)[0] / 2


def _tensors(weights: ArrayWeights, like: torch.Tensor | None = None) -> Weights:
    U, W, V = (as_tensor(weight) for weight in weights)
    return (U, W, V) if like is None else (U.to(like), W.to(like), V.to(like))


def _fitted_constraints(setting: Setting) -> WeightConstraints:
    """Constraints of a fit, its box aside."""
    return WeightConstraints(setting.beta_u, setting.beta_w, setting.beta_v, setting.unit_types)


def _first_weights(
    shape: tuple[int, int, int], seed: int, constraints: WeightConstraints
) -> Weights:
    """Weights of a network that has seen no data, for (d, m, k)."""
    weights = initial_weights(*shape, torch.Generator().manual_seed(seed))
    constraints.orient_(*weights)
    return weights
