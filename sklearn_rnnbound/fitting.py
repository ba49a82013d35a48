"""A fit before and after training: from parameters and data to a net, and to attributes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_class_weight

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.checkpoint import Checkpoint, check_checkpoint, fingerprint
from sklearn_rnnbound.constraints import WeightConstraints, row_norm
from sklearn_rnnbound.network import RecurrentNetwork, Weights, initial_weights
from sklearn_rnnbound.noise import InputNoise
from sklearn_rnnbound.training import (
    ConstrainedNet,
    RampLoss,
    Sequences,
    Stopping,
    Training,
    TrainingRecord,
    as_tensor,
    as_tensors,
)
from sklearn_rnnbound.validation import as_weights, check_callbacks, conversion, resolve_device

if TYPE_CHECKING:
    from sklearn_rnnbound.classifier import RNNBoundClassifier

__all__ = ["OPTIMIZERS", "Fit", "conclude", "first_weights", "make_net", "prepare", "resume"]

OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
}

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


def prepare(clf: RNNBoundClassifier, X: Any, y: Any, sample_weight: Any) -> Fit:
    """Everything of a fit that comes before training."""
    constraints = clf._constraints()
    if clf.loss == "ramp" and isinstance(clf.margin, str):
        raise ValueError(
            f"loss='ramp' is the ramp loss at a margin fixed beforehand: margin must be a "
            f"number > 0, got {clf.margin!r}"
        )
    device = resolve_device(clf.device)
    check_callbacks(clf.callbacks)
    if clf.checkpoint is not None:
        check_checkpoint(clf.checkpoint, clf.random_state, clf.callbacks)
    X, y = clf._validate(X, y)
    for name in ("learning_rate", "weight_decay"):
        if getattr(clf, name) > np.finfo(X.dtype).max:
            raise ValueError(f"{name}={getattr(clf, name)} is out of the range of {X.dtype}")
    weights = None
    if sample_weight is not None:
        weights = as_weights(sample_weight, X)
        if not weights.all():
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
    classes, targets = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must hold two classes or more, but has one class: {classes[0]}")
    weights = _loss_weights(clf, weights, y, classes, targets)
    prior = clf._fitted_prior(X, classes)
    previous = clf._previous_weights(X, classes)
    n_before = 0 if previous is None else clf._n_learned
    if prior is not None and prior._recognises(
        as_tensor(X).to(as_tensors(prior._array_weights())[0]), torch.from_numpy(targets)
    ):
        raise ValueError(
            "prior was fitted on these very data; its weights must come from data disjoint "
            "from those of fit, or no bound that uses them holds"
        )
    _check_input_bound(clf, X)
    _check_min_eigenvalue(clf, X)
    clf._prior_weights = None if prior is None else prior._array_weights()
    clf._n_prior = 0 if prior is None else prior._n_learned
    constraints = clf._with_box(constraints, X.dtype)

    seeds = check_random_state(clf.random_state).randint(np.iinfo(np.int32).max, size=5)
    init_seed, noise_seed, shuffle_seed, evaluation_seed, split_seed = map(int, seeds)
    data, validation = _resident_data(clf, X, targets, weights, device, split_seed)
    with clf._threads(len(data), X.shape[2]):
        if previous is None and clf._prior_weights is not None:
            previous = as_tensors(clf._prior_weights)
        if not hasattr(clf, "_init_seed") or not (clf.warm_start and hasattr(clf, "U_")):
            # The centre of the PAC-Bayes prior: weights that no data have touched.
            clf._init_seed = init_seed
        if previous is None:
            shape = X.shape[2], int(clf.hidden_size), len(classes)
            previous = first_weights(shape, init_seed, constraints)
        U, W, V = (value.to(device, data.X.dtype) for value in previous)
        module = RecurrentNetwork(U, W, V, clf.activation)
        constraints.project_(*module.weights)
        optimizer, options = OPTIMIZERS[clf.optimizer]
        net = make_net(
            clf,
            module,
            constraints,
            evaluation_seed,
            noise_generator=torch.Generator(device).manual_seed(noise_seed),
            shuffle_generator=(
                torch.Generator().manual_seed(shuffle_seed) if clf.shuffle else None
            ),
            clip_norm=clf.gradient_clip_norm,
            clip_value=clf.gradient_clip_value,
            batch_size=_effective_batch_size(clf, len(data)),
            optimizer=optimizer,
            lr=float(clf.learning_rate),
            optimizer__weight_decay=float(clf.weight_decay),
            **{f"optimizer__{key}": option for key, option in options.items()},
            train_split=None if validation is None else lambda part: (part, validation),
            callbacks=clf.callbacks,
        )
    # Arithmetic with a NumPy scalar would be done in its type, be it float16 or int8.
    stopping = Stopping(int(clf.max_iter), float(clf.tol), int(clf.n_iter_no_change))
    training = Training(net, data, validation, stopping, _progress(clf, net, data))
    n_learned = len(X) + clf._n_prior + n_before
    return Fit(training, classes, weights is not None, n_learned)


def resume(clf: RNNBoundClassifier, training: Training, folder: str | os.PathLike[str]) -> None:
    """Give the training its checkpoint, and go on from there where it was interrupted."""
    net, data, validation = training.net, training.data, training.validation
    settings = [
        (type(clf).__module__, type(clf).__qualname__),
        net.module_.theta.device.type,
        # The order of summation depends on it.
        torch.get_num_threads(),
        getattr(net.criterion_, "margin", None),
        *sorted(
            (name, value)
            for name, value in clf.get_params(deep=False).items()
            if name not in _READ_BEFORE_TRAINING
        ),
    ]
    tensors = [
        *(data.X, data.targets, data.weights, data.rows),
        None if validation is None else validation.rows,
        net.module_.theta,
        *(() if clf._prior_weights is None else as_tensors(clf._prior_weights)),
    ]
    checkpoint = Checkpoint(folder, fingerprint(settings, tensors))
    if checkpoint.read(training.restore) and clf.verbose:
        epoch = len(training.record.loss_curve)
        print(f"resumed at epoch {epoch} from {checkpoint.path}", flush=True)
    training.checkpoint = checkpoint


def conclude(clf: RNNBoundClassifier, fit: Fit) -> None:
    """Everything of a fit that comes after training."""
    net, data, record = fit.training.net, fit.training.data, fit.training.record
    # Callbacks may have moved the weights after the last step.
    net.constraints.project_(*net.module_.weights)
    net.limit_fisher_rao_(data.X)
    net.train_split = None
    _keep(clf, net, fit.classes, record)
    clf._setting = _make_setting(clf, net.constraints, weighted=fit.weighted)
    clf._fitted_box = net.constraints.box
    clf._n_learned = fit.n_learned
    clf._statistics = clf._reduce(data.X, data.targets)
    if not record.converged:
        warnings.warn(
            f"max_iter={clf.max_iter} epochs reached, and training has not converged yet.",
            ConvergenceWarning,
            stacklevel=4,
        )


def make_net(
    clf: RNNBoundClassifier,
    module: RecurrentNetwork,
    constraints: WeightConstraints,
    evaluation_seed: int,
    **options: Any,
) -> ConstrainedNet:
    """Initialised net of a classifier, for training or for predictions alone.

    Parameters
    ----------
    clf : RNNBoundClassifier
        The classifier, of which noise, loss, margin and Fisher-Rao radius are read.
    module : RecurrentNetwork
        The network, on its device.
    constraints : WeightConstraints
        Its constraints.
    evaluation_seed : int
        Seed of the noise draw under which a bound is taken.
    **options
        Further parameters of the net, which training needs.

    Returns
    -------
    net : ConstrainedNet
        The net.
    """
    sigma = float(clf.noise_std)
    return ConstrainedNet(
        module,
        constraints=constraints,
        fisher_rao_max=None if clf.fisher_rao_max is None else float(clf.fisher_rao_max),
        noise=InputNoise(clf.noise, sigma) if sigma > 0 else None,
        evaluation_seed=evaluation_seed,
        criterion=(
            torch.nn.CrossEntropyLoss(reduction="none")
            if isinstance(clf.margin, str) or clf.loss == "cross_entropy"
            else RampLoss(float(clf.margin))
        ),
        classes=list(range(module.shape[2])),
        device=str(module.theta.device),
        **options,
    ).initialize()


def _loss_weights(
    clf: RNNBoundClassifier,
    weights: np.ndarray | None,
    y: np.ndarray,
    classes: np.ndarray,
    targets: np.ndarray,
) -> np.ndarray | None:
    """Product of sample and class weights; None when all are equal."""
    if clf.class_weight is not None:
        factors = _class_factors(clf, y, classes, weights)
        weights = factors[targets] * (1.0 if weights is None else weights)
    if weights is None or (weights == weights[0]).all():
        return None
    return weights


def _class_factors(
    clf: RNNBoundClassifier, y: np.ndarray, classes: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """Weights of the classes by `class_weight`, the largest of them about 1."""
    try:
        with conversion("class_weight"):
            factors = compute_class_weight(
                clf.class_weight, classes=classes, y=y, sample_weight=weights
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


def _check_input_bound(clf: RNNBoundClassifier, X: np.ndarray) -> None:
    if clf.input_bound is None:
        return
    largest, bound = max(float(X.max()), -float(X.min())), float(clf.input_bound)
    if largest > bound:
        raise ValueError(
            f"input_bound={bound:g} does not hold: X has an entry of magnitude "
            f"{largest:g}. Scale or clip X, by a rule fixed before the data were seen"
        )


def _check_min_eigenvalue(clf: RNNBoundClassifier, X: np.ndarray) -> None:
    if isinstance(clf.min_eigenvalue, str) or clf.min_eigenvalue == 0:
        return
    mean_square = float(np.einsum("ntd,ntd->", X, X, dtype=np.float64)) / X.size
    # No more than the mean of all eigenvalues in the population, of which this is an estimate.
    if float(clf.min_eigenvalue) > 2 * mean_square:
        warnings.warn(
            f"min_eigenvalue={clf.min_eigenvalue:g} is far above the mean squared entry of X, "
            f"{mean_square:.4g}, which it cannot exceed in the population: bounds that use it "
            "will hardly hold",
            stacklevel=5,
        )


def _resident_data(
    clf: RNNBoundClassifier,
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
    if not clf.early_stopping:
        return Sequences(inputs, numbers, loss_weights), None
    try:
        parts = train_test_split(
            np.arange(len(targets)),
            test_size=float(clf.validation_fraction),
            stratify=targets,
            random_state=split_seed,
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping cannot hold out validation_fraction={clf.validation_fraction} of "
            f"every class: {error}"
        ) from error
    rows, held_out = (torch.from_numpy(np.sort(part)).to(inputs.device) for part in parts)
    return (
        Sequences(inputs, numbers, loss_weights, rows),
        Sequences(inputs, numbers, loss_weights, held_out),
    )


def _effective_batch_size(clf: RNNBoundClassifier, n: int) -> int:
    size = clf._largest_batch()
    if clf.batch_size != "auto" and size > n:
        warnings.warn(
            f"batch_size={clf.batch_size} is larger than the training sample and is clipped "
            f"to {n}.",
            stacklevel=5,
        )
    return min(size, n)


def _progress(
    clf: RNNBoundClassifier, net: ConstrainedNet, data: Sequences
) -> Callable[[TrainingRecord], None]:
    """Function that prints the line of an epoch, or does nothing."""

    def print_line(record: TrainingRecord) -> None:
        predicted = net.scores(data.X).argmax(1).to(data.targets.device)
        error = float((predicted != data.targets).double().mean())
        norms = (row_norm(weight.cpu().numpy()) for weight in net.module_.weights)
        line = (
            f"epoch {len(record.loss_curve):>4}/{clf.max_iter}"
            f"  loss {record.loss_curve[-1]:8.4f}  train error {error:6.4f}"
            "  norms U {:.3g}, W {:.3g}, V {:.3g}".format(*norms)
        )
        if record.validation_scores:
            line += f"  validation accuracy {record.validation_scores[-1]:6.4f}"
        print(line, flush=True)

    return print_line if clf.verbose else lambda record: None


def _keep(
    clf: RNNBoundClassifier,
    net: ConstrainedNet,
    classes: np.ndarray,
    record: TrainingRecord,
) -> None:
    """Set the fitted attributes that come from training."""
    clf.net_ = net
    clf.device_ = net.device
    clf.classes_ = classes
    clf.U_, clf.W_, clf.V_ = (
        weight.detach().cpu().numpy().copy() for weight in net.module_.weights
    )
    clf.beta_u_ = row_norm(clf.U_, net.constraints.beta_u)
    clf.beta_w_ = row_norm(clf.W_, net.constraints.beta_w)
    clf.beta_v_ = row_norm(clf.V_, net.constraints.beta_v)
    clf.n_iter_ = len(record.loss_curve)
    clf.loss_curve_ = record.loss_curve
    clf.best_loss_ = None if clf.early_stopping else min(record.loss_curve)
    clf.validation_scores_ = record.validation_scores if clf.early_stopping else None


def _make_setting(
    clf: RNNBoundClassifier, constraints: WeightConstraints, *, weighted: bool
) -> Setting:
    notes = [
        "samples drawn independently from one law",
        "features and hyper-parameters fixed before this sample was seen; a preprocessing "
        "fitted on it, or the choice among candidates, makes the bound an estimate",
    ]
    if weighted:
        notes.append("the risk is the unweighted one, although training was weighted")
    if clf.early_stopping:
        notes.append("all rows count, those of early stopping's validation part too")
    return Setting(
        beta_u=constraints.beta_u,
        beta_w=constraints.beta_w,
        beta_v=constraints.beta_v,
        unit_types=clf.unit_types,
        fisher_rao_max=None if clf.fisher_rao_max is None else float(clf.fisher_rao_max),
        input_bound=None if clf.input_bound is None else float(clf.input_bound),
        min_eigenvalue_known=clf.min_eigenvalue != "estimate",
        activation=clf.activation,
        noise=clf.noise,
        noise_std=float(clf.noise_std),
        notes=tuple(notes),
    )


def _has_room(device: torch.device, n_bytes: int) -> bool:
    """Whether data of a size may lie on a device; else minibatches travel there one by one."""
    if device.type != "cuda":
        return True
    # The other half is for what training makes of a minibatch, and for other programs.
    return n_bytes <= torch.cuda.mem_get_info(device)[0] / 2


def first_weights(
    shape: tuple[int, int, int], seed: int, constraints: WeightConstraints
) -> Weights:
    """Weights of a network that has seen no data, for (d, m, k)."""
    weights = initial_weights(*shape, torch.Generator().manual_seed(seed))
    constraints.orient_(*weights)
    return weights
