"""Series of the UEA and UCR archives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch
from sklearn.utils._param_validation import validate_params

__all__ = ["load_ts"]

_SOURCE = (
    "Download a data set of the UEA or UCR archive from timeseriesclassification.com; its zip file "
    "holds a file <name>_TRAIN.ts and a file <name>_TEST.ts"
)


@validate_params({"path": [str, os.PathLike]}, prefer_skip_nested_validation=True)
def load_ts(path: str | os.PathLike[str]) -> Bunch:
    """Labelled series of a ``.ts`` file, the format of the UEA and UCR archives.

    The file is read by aeon [1]_, which the extra ``series`` brings. Series may be of different
    lengths; :class:`~sklearn_rnnbound.preprocessing.SequencePadder` makes one array of them.

    Parameters
    ----------
    path : str or path-like
        The file, such as ``JapaneseVowels_TRAIN.ts``.

    Returns
    -------
    bunch : Bunch
        A dictionary with attributes:

        data : list of ndarray of shape (L_i, d)
            The series, time first, float64. Missing values are NaN. Steps at the end at which no
            channel has a value are left out: some files fill up short series with them.
        target : ndarray of shape (n,)
            The labels, str, spelled as in the header of the file.

    Raises
    ------
    ImportError
        Without aeon.
    FileNotFoundError
        When there is no such file.
    ValueError
        When the file has another ending, is malformed or cut off in the middle of a series, has
        no labels, or has time stamps.

    References
    ----------
    .. [1] M. Middlehurst et al. aeon: a Python Toolkit for Learning from Time Series. Journal of
       Machine Learning Research 25, 2024.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file is at {path}. {_SOURCE}")
    if path.suffix != ".ts":
        raise ValueError(f"{path} must have the ending .ts. {_SOURCE}")
    try:
        from aeon.datasets import load_from_ts_file
    except ImportError as error:
        raise ImportError("load_ts needs aeon: pip install 'sklearn-rnnbound[series]'") from error
    spelling = _spelling_of_labels(path)
    try:
        series, labels = load_from_ts_file(os.fspath(path))
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a whole .ts file: {error}. {_SOURCE}") from error
    known = [label.lower() in spelling for label in labels]
    if not known or (all(known[:-1]) and not known[-1]):
        last = f"the last label, {str(labels[-1])!r}, is cut off" if known else "it holds no series"
        raise ValueError(f"{path} is not a whole .ts file: {last}. {_SOURCE}")
    return Bunch(
        data=[_without_missing_end(values.T) for values in series],
        # aeon turns labels to lower case.
        target=np.array([spelling.get(label.lower(), label) for label in labels]),
    )


def _spelling_of_labels(path: Path) -> dict[str, str]:
    """Labels that the header announces, under their lower-case form."""
    tags = {}
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.strip().partition(" ")
            if key.lower() == "@data":
                break
            tags[key.lower()] = value.split()
        else:
            raise ValueError(f"{path} is not a whole .ts file: it has no line @data. {_SOURCE}")
    if tags.get("@timestamps", [""])[0].lower() == "true":
        # aeon 1.6 drops the sign of values that have time stamps.
        raise ValueError(f"{path} holds series with time stamps, which are not read")
    has_labels, *labels = tags.get("@classlabel", ["false"])
    if has_labels.lower() != "true":
        raise ValueError(f"{path} holds series without class labels")
    return {label.lower(): label for label in labels}


def _without_missing_end(values: np.ndarray) -> np.ndarray:
    """Contiguous copy of (L, d) values up to the last step with a value."""
    present = np.flatnonzero(~np.isnan(values).all(1))
    length = present[-1] + 1 if len(present) else 0
    return np.ascontiguousarray(values[:length])
