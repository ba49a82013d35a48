"""A fit before training: from parameters and data to a net."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_class_weight

from sklearn_rnnbound.bounds import Setting
from sklearn_rnnbound.checkpoint import Checkpoint, check_checkpoint, fingerprint
from sklearn_rnnbound.constraints import Box, WeightConstraints, row_norm
from sklearn_rnnbound.network import RecurrentNetwork, Weights, initial_weights
from sklearn_rnnbound.noise import InputNoise
from sklearn_rnnbound.paths import as_path
from sklearn_rnnbound.training import (
    ArrayWeights,
    ConstrainedNet,
    RampLoss,
    Sequences,
    Stopping,
    Training,
    TrainingRecord,
    as_tensor,
    as_tensors,
)
from sklearn_rnnbound.validation import (
    as_radius,
    as_weights,
    check_callbacks,
    conversion,
    resolve_device,
)

if TYPE_CHECKING:
    from sklearn_rnnbound.classifier import RNNBoundClassifier

__all__ = [
    "OPTIMIZERS",
    "Fit",
    "Sample",
    "Start",
    "check_parameters",
    "check_sample",
    "first_weights",
    "largest_batch",
    "make_net",
    "prepare",
    "resume",
]

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
class Sample:
    """Checked data of a fit.

    Parameters
    ----------
    X : ndarray of shape (n, L, d)
        Sequences.
    targets : ndarray of shape (n,)
        Numbers of the classes.
    classes : ndarray of shape (k,)
        Class labels.
    weights : ndarray of shape (n,) or None
        Weights of the samples in the loss; None: all equal.
    """

    X: np.ndarray
    targets: np.ndarray
    classes: np.ndarray
    weights: np.ndarray | None


@dataclass(frozen=True)
class Start:
    """What earlier fits have left for this one.

    Parameters
    ----------
    weights : tuple of Tensor or None
        Weights U, W, V of the previous fit, under `warm_start`.
    n_learned : int
        Number of samples that these have learned from.
    init_seed : int or None
        Seed of the weights that the previous fits began with, under `warm_start`.
    prior_weights : tuple of ndarray or None
        Weights U, W, V of `prior`.
    n_prior : int
        Number of samples that these have learned from.
    """

    weights: Weights | None = None
    n_learned: int = 0
    init_seed: int | None = None
    prior_weights: ArrayWeights | None = None
    n_prior: int = 0


@dataclass(frozen=True)
class Fit:
    """A fit between its checks and its end.

    Parameters
    ----------
    training : Training
        The net with its data.
    classes : ndarray of shape (k,)
        Class labels.
    setting : Setting
        What the bounds know beforehand.
    start : Start
        What earlier fits have left.
    init_seed : int
        Seed of weights that no data have touched, the centre of the PAC-Bayes prior.
    n_learned : int
        Number of samples that the weights will have learned from, those of a prior included.
    """

    training: Training
    classes: np.ndarray
    setting: Setting
    start: Start
    init_seed: int
    n_learned: int


def check_parameters(clf: RNNBoundClassifier) -> None:
    """Raise ValueError or TypeError for parameters that contradict each other or the machine."""
    if clf.unit_types == 2 and clf.hidden_size < 2:
        raise ValueError("unit_types=2 needs hidden_size >= 2, one unit of each type at least")
    if clf.loss == "ramp" and isinstance(clf.margin, str):
        raise ValueError(
            f"loss='ramp' is the ramp loss at a margin fixed beforehand: margin must be a "
            f"number > 0, got {clf.margin!r}"
        )
    if clf.box_width is not None:
        if clf.prior is None:
            raise ValueError("box_width needs prior, the classifier whose weights it surrounds")
        if clf.fisher_rao_max is not None:
            raise ValueError("fisher_rao_max rescales V out of its box: leave out one of the two")
    if isinstance(clf.memory, str):
        as_path(clf.memory, "memory")
    resolve_device(clf.device)
    check_callbacks(clf.callbacks)
    if clf.checkpoint is not None:
        check_checkpoint(clf.checkpoint, clf.random_state, clf.callbacks)


def check_sample(
    clf: RNNBoundClassifier, X: np.ndarray, y: np.ndarray, sample_weight: Any
) -> Sample:
    """Sequences and labels with the weights of the loss, rows of weight 0 left out."""
    for name in ("learning_rate", "weight_decay"):
        value = float(getattr(clf, name))
        if value > float(np.finfo(X.dtype).max):
            raise ValueError(f"{name}={value:g} is out of the range of {X.dtype}")
    weights = None
    if sample_weight is not None:
        weights = as_weights(sample_weight, X)
        if not weights.all():
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
    classes, targets = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y must hold two classes or more, but has one class: {classes[0]}")
    _check_input_bound(clf, X)
    _check_min_eigenvalue(clf, X)
    return Sample(X, targets, classes, _loss_weights(clf, weights, y, classes, targets))


def prepare(clf: RNNBoundClassifier, sample: Sample, start: Start) -> Fit:
    """The net with its data, ready to be trained."""
    X, device = sample.X, resolve_device(clf.device)
    constraints = WeightConstraints(
        as_radius(clf.beta_u), as_radius(clf.beta_w), as_radius(clf.beta_v), clf.unit_types
    )
    if clf.box_width is not None and start.prior_weights is not None:
        box = Box(start.prior_weights, float(clf.box_width))
        constraints = constraints.with_box(box, torch.from_numpy(np.zeros(0, X.dtype)))

    seeds = check_random_state(clf.random_state).randint(np.iinfo(np.int32).max, size=5)
    init_seed, noise_seed, shuffle_seed, evaluation_seed, split_seed = map(int, seeds)
    data, validation = _resident_data(clf, sample, device, split_seed)
    if start.weights is not None:
        weights = start.weights
    elif start.prior_weights is not None:
        weights = as_tensors(start.prior_weights)
    else:
        shape = X.shape[2], int(clf.hidden_size), len(sample.classes)
        weights = first_weights(shape, init_seed, constraints)
    U, W, V = (value.to(device, data.X.dtype) for value in weights)
    module = RecurrentNetwork(U, W, V, clf.activation)
    constraints.project_(*module.weights)
    optimizer, options = OPTIMIZERS[clf.optimizer]
    net = make_net(
        clf,
        module,
        constraints,
        evaluation_seed,
        noise_generator=torch.Generator(device).manual_seed(noise_seed),
        shuffle_generator=torch.Generator().manual_seed(shuffle_seed) if clf.shuffle else None,
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
    setting = _make_setting(clf, constraints, weighted=sample.weights is not None)
    n_learned = len(X) + start.n_prior + start.n_learned
    if start.init_seed is not None:
        init_seed = start.init_seed
    return Fit(training, sample.classes, setting, start, init_seed, n_learned)


def resume(clf: RNNBoundClassifier, fit: Fit, folder: str | os.PathLike[str]) -> None:
    """Give the training its checkpoint, and go on from there where it was interrupted."""
    training, prior_weights = fit.training, fit.start.prior_weights
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
        *(() if prior_weights is None else as_tensors(prior_weights)),
    ]
    checkpoint = Checkpoint(folder, fingerprint(settings, tensors))
    if checkpoint.read(training.restore) and clf.verbose:
        epoch = len(training.record.loss_curve)
        print(f"resumed at epoch {epoch} from {checkpoint.path}", flush=True)
    training.checkpoint = checkpoint


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
            stacklevel=6,
        )


def _resident_data(
    clf: RNNBoundClassifier, sample: Sample, device: torch.device, split_seed: int
) -> tuple[Sequences, Sequences | None]:
    """Training data, on the device if it has room for them, and the validation part."""
    inputs = as_tensor(sample.X)
    if _has_room(device, inputs.nbytes):
        inputs = inputs.to(device)
    numbers = torch.from_numpy(sample.targets).to(inputs.device)
    weights = None if sample.weights is None else as_tensor(sample.weights).to(inputs)
    if not clf.early_stopping:
        return Sequences(inputs, numbers, weights), None
    try:
        parts = train_test_split(
            np.arange(len(sample.targets)),
            test_size=float(clf.validation_fraction),
            stratify=sample.targets,
            random_state=split_seed,
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping cannot hold out validation_fraction={clf.validation_fraction} of "
            f"every class: {error}"
        ) from error
    rows, held_out = (torch.from_numpy(np.sort(part)).to(inputs.device) for part in parts)
    return (
        Sequences(inputs, numbers, weights, rows),
        Sequences(inputs, numbers, weights, held_out),
    )


def largest_batch(clf: RNNBoundClassifier) -> int:
    """Rows of a minibatch, where there are enough."""
    return 200 if isinstance(clf.batch_size, str) else int(clf.batch_size)


def _effective_batch_size(clf: RNNBoundClassifier, n: int) -> int:
    size = largest_batch(clf)
    if clf.batch_size != "auto" and size > n:
        warnings.warn(
            f"batch_size={clf.batch_size} is larger than the training sample and is clipped "
            f"to {n}.",
            stacklevel=6,
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
