"""What the archives of a release hold: `make dist` runs this on its folder."""

import sys
import tarfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from sklearn_rnnbound import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = "sklearn_rnnbound"


def files(*folders: str) -> set[str]:
    """Paths of the files that belong into an archive."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def main(folder: str) -> None:
    """Compare the archives with the checkout."""
    (wheel,) = Path(folder).glob("*.whl")
    (sdist,) = Path(folder).glob("*.tar.gz")
    info = f"{PACKAGE}-{__version__}.dist-info"
    with ZipFile(wheel) as archive:
        metadata = message_from_bytes(archive.read(f"{info}/METADATA"))
        records = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
        assert set(archive.namelist()) == files(PACKAGE) | records
    assert f"{PACKAGE}/py.typed" in files(PACKAGE)
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "BSD-3-Clause"

    top = f"{PACKAGE}-{__version__}/"
    with tarfile.open(sdist) as archive:
        names = {member.name.removeprefix(top) for member in archive if member.isfile()}
    # Built pages and measurements are not in it.
    missing = files(PACKAGE, "tests", "examples", "requirements") - names
    assert not missing, missing
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= names


if __name__ == "__main__":
    main(*sys.argv[1:])
