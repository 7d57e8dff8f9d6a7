"""Pack an experiment into one archive: cubes, figures, configuration, and what describes them.

Equal inputs give equal bytes. The archive is a zip with one folder, named after the experiment;
:mod:`samedge.sharing.archive` has what lies where in it, and reads it.
"""

import hashlib
import json
import os
import re
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import xarray as xr

from samedge import __version__
from samedge.base.components import PLUGIN_FOLDER
from samedge.base.errors import UserError
from samedge.base.files import whole_file
from samedge.records import files as records
from samedge.sharing import contents as describing
from samedge.sharing.archive import (
    CONFIG,
    FIGURE_FOLDER,
    MANIFEST,
    METADATA,
    OWN,
    README,
    is_plain,
    manifest,
    read_config,
)
from samedge.sharing.crate import PackedFile, metadata

#: Where files lie, by their ending; others lie beside these folders.
FOLDERS = {
    **dict.fromkeys((".pdf", ".png", ".svg"), FIGURE_FOLDER),
    ".py": PLUGIN_FOLDER,
}
#: The first moment that a zip can name. When a file was written is not part of what it says.
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
UNIX, PERMISSIONS = 3, 0o100644
EPOCH = "SOURCE_DATE_EPOCH"


def pack(
    config: str, cubes: Sequence[Path], files: Sequence[Path], output: Path, published: str | None
) -> list[str]:
    """Write the archive of an experiment, and return the names of the files in it.

    Parameters
    ----------
    config
        The configuration, as :func:`samedge.config.experiment.resolved` gives it.
    cubes
        The cube of each task, every run in it.
    files
        What else belongs to it. Pictures go to ``figures``, plugins (Python files) to
        ``plugins``, the rest beside them, by their names.
    output
        The zip file to write.
    published
        The date of publication, year-month-day; None: see :func:`publication_date`.

    Raises
    ------
    UserError
        If the configuration is none or does not know the task of a cube, two cubes are of one
        task, two files would have one name, or no date is known.
    """
    settings = read_config(config, "--config")
    name = settings["experiment"]
    by_task = _read_cubes(cubes, settings)
    contents = _contents(cubes, by_task, files)
    contents[CONFIG] = f"{json.dumps(settings, indent=2)}\n".encode()
    contents[README] = describing.readme(name, by_task, __version__).encode()
    day = publication_date(describing.commits_of(by_task), published)
    with (
        whole_file(output) as temporary,
        # Not compressed: what is large in it is so already, and what a compressor makes of the
        # same bytes is not the same in all its versions.
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        packed = [_add(archive, name, file, contents[file]) for file in sorted(contents)]
        described = metadata(name, by_task, packed, day).encode()
        packed.append(_add(archive, name, METADATA, described))
        checksums = {file.name: file.sha256 for file in packed}
        _add(archive, name, MANIFEST, manifest(checksums).encode())
    return [*checksums, MANIFEST]


def publication_date(commits: Sequence[str], published: str | None) -> str:
    """Return the date of publication, year-month-day.

    It is the one given; else that of ``SOURCE_DATE_EPOCH`` (seconds, in the environment), by which
    builds are made to be repeated; else that of the newest of these commits which git finds here.
    Today's would make another archive of the same experiment every day.

    Raises
    ------
    UserError
        If the date is none, or not known.
    """
    if published is not None:
        try:
            return date.fromisoformat(published).isoformat()
        except ValueError as error:
            raise UserError(f"--date: found {published}, must be year-month-day") from error
    if EPOCH in os.environ:
        try:
            return datetime.fromtimestamp(int(os.environ[EPOCH]), UTC).date().isoformat()
        except (ValueError, OverflowError, OSError) as error:
            raise UserError(
                f"{EPOCH}: found {os.environ[EPOCH]}, must be seconds since 1970"
            ) from error
    dates = [found for commit in commits if (found := _commit_date(commit))]
    if not dates:
        raise UserError(
            f"no date of publication: git does not find the commit that trained the runs "
            f"({', '.join(commits)}) here; give --date year-month-day, or set {EPOCH} to seconds "
            "since 1970"
        )
    return max(dates)


def _commit_date(commit: str) -> str:
    """Return the date of a commit, "" if git does not find it."""
    found = re.fullmatch(r"([0-9a-f]{40})(-dirty)?", commit)
    if not found:
        return ""
    command = ["git", "show", "--no-patch", "--format=%cs", found[1]]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _read_cubes(paths: Sequence[Path], settings: Mapping) -> dict[str, xr.Dataset]:
    """Return the cubes by task, in the order of the paths, of tasks that are configured."""
    cubes = records.read_cubes(paths)
    for path, task in zip(paths, cubes, strict=True):
        if task not in settings["tasks"]:
            raise UserError(
                f"{path}: a cube of the task '{task}', which the configuration does not have; its "
                f"tasks are: {', '.join(settings['tasks'])}"
            )
    return cubes


def _contents(
    paths: Sequence[Path], cubes: Mapping[str, xr.Dataset], files: Sequence[Path]
) -> dict[str, Path | bytes]:
    """Return where the contents of each file of the archive are, by its name there."""
    contents: dict[str, Path | bytes] = {
        describing.cube_name(task): path for task, path in zip(cubes, paths, strict=True)
    }
    for path in files:
        folder = FOLDERS.get(path.suffix)
        name = f"{folder}/{path.name}" if folder else path.name
        if name in contents or name in OWN:
            raise UserError(f"{path}: the archive has another file of the name {name}; rename it")
        if not is_plain(name):
            raise UserError(f"{path}: cannot be packed under this name; rename it")
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        contents[name] = path
    return contents


def _add(archive: zipfile.ZipFile, folder: str, name: str, contents: Path | bytes) -> PackedFile:
    """Write one file of the archive, with nothing of the machine or the hour in it."""
    info = zipfile.ZipInfo(f"{folder}/{name}", TIMESTAMP)
    info.create_system = UNIX
    info.external_attr = PERMISSIONS << 16
    if isinstance(contents, bytes):
        archive.writestr(info, contents)
        return PackedFile(name, len(contents), hashlib.sha256(contents).hexdigest())
    # So that a large file is written as one from the beginning.
    info.file_size = contents.stat().st_size
    checksum = hashlib.sha256()
    with contents.open("rb") as source, archive.open(info, "w") as target:
        while piece := source.read(2**20):
            checksum.update(piece)
            target.write(piece)
    return PackedFile(name, info.file_size, checksum.hexdigest())
