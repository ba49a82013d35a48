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
        When the file is malformed or cut off in the middle of a series, has no labels or one that
        its header does not list, numbers in place of labels, or time stamps.

    Notes
    -----
    Blank lines, and lines that begin with ``#``, are comments in the header alone.

    A file that is cut off between two series reads like a shorter one: its header does not say
    how many there are.

    References
    ----------
    .. [1] M. Middlehurst et al. aeon: a Python Toolkit for Learning from Time Series. Journal of
       Machine Learning Research 25, 2024.
    """
    try:
        from aeon.datasets import load_from_ts_file
    except ImportError as error:
        raise ImportError("load_ts needs aeon: pip install 'sklearn-rnnbound[series]'") from error
    spelling = _spelling_of_labels(Path(path))
    try:
        series, labels, header = load_from_ts_file(os.fspath(path), return_meta_data=True)
    except (OSError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a whole .ts file: {error}. {_SOURCE}") from error
    if header["timestamps"]:
        # aeon 1.6 drops the sign of values that have time stamps.
        raise ValueError(f"{path} holds series with time stamps, which are not read")
    if not header["classlabel"]:
        raise ValueError(f"{path} holds series without class labels")
    if not len(labels) or not series[0].size:
        raise ValueError(f"{path} is not a whole .ts file: it holds no series. {_SOURCE}")
    # aeon turns labels to lower case.
    labels = [str(label).strip() for label in labels]
    for number, label in enumerate(labels, start=1):
        if label not in spelling:
            raise ValueError(
                f"{path} is not a whole .ts file: the label of series {number}, {label[:60]!r}, is "
                f"cut off or missing in the header. {_SOURCE}"
            )
    return Bunch(
        data=[_without_missing_end(values.T) for values in series],
        target=np.array([spelling[label] for label in labels]),
    )


def _spelling_of_labels(path: Path) -> dict[str, str]:
    """Labels that the header announces, under their lower-case form."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            tag, *values = line.split() or [""]
            if tag.lower() == "@classlabel":
                spelling = {label.lower(): label for label in values[1:]}
                if len(spelling) < len(set(values[1:])):
                    raise ValueError(
                        f"{path} has labels that differ in case alone, which aeon ignores"
                    )
                return spelling
    return {}


def _without_missing_end(values: np.ndarray) -> np.ndarray:
    """Contiguous copy of (L, d) values up to the last step with a value."""
    present = np.flatnonzero(~np.isnan(values).all(1))
    length = present[-1] + 1 if len(present) else 0
    return np.ascontiguousarray(values[:length])
