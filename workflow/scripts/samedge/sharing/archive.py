"""What lies where in the archive of an experiment, and how one is read: verified first.

An archive is a zip with one folder in it, or that folder once it is unpacked. Its manifest has the
SHA-256 of every other file, as ``sha256sum`` writes and checks it; its metadata state the
version of the schema (:mod:`samedge.records.schema`) that it was packed in.
"""

import hashlib
import json
import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from samedge.base.errors import UserError
from samedge.records.schema import require_known_version

CUBE_FOLDER, FIGURE_FOLDER = "cubes", "figures"
#: Written as JSON, which is YAML too: what draws figures needs no reader of YAML.
CONFIG = "config.yaml"
README = "README.md"
METADATA = "ro-crate-metadata.json"
MANIFEST = "manifest-sha256.txt"
#: What the metadata have of the folder as a whole, by schema.org's name: the version of the schema.
ROOT, VERSION_KEY = "./", "schemaVersion"
#: Names that no file that is packed may take.
OWN = (CONFIG, README, METADATA, MANIFEST)
#: What reading from a zip raises where its bytes are not those that were written.
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)

Entries = Mapping[str, Callable[[], IO[bytes]]]


@dataclass(frozen=True)
class PackedExperiment:
    """The files of a verified archive by name: how to open each, and its SHA-256."""

    path: Path
    entries: Entries
    checksums: Mapping[str, str]

    def config(self) -> dict:
        """Return the configuration of the experiment, which has all that figures need.

        Raises
        ------
        UserError
            If it is none.
        """
        with self.entries[CONFIG]() as file:
            return read_config(file.read(), f"{self.path}: its {CONFIG}")

    def cubes(self) -> list[str]:
        """Return the names of the cubes."""
        return [name for name in self.checksums if name.startswith(f"{CUBE_FOLDER}/")]

    def extract(self, name: str, folder: Path) -> Path:
        """Copy a file into a folder, and return its path there."""
        target = folder / Path(name).name
        with self.entries[name]() as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        return target


@contextmanager
def verified(path: Path) -> Iterator[PackedExperiment]:
    """Open an archive, zipped or unpacked, of which every file is as it was when it was packed.

    Raises
    ------
    UserError
        If it is no such archive, or of a version of the schema that is not known yet; if files are
        damaged, missing or not part of it, naming each; if a name in it leads out of its folder.
    """
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file())
        entries: Entries = {file.relative_to(path).as_posix(): _opener(file) for file in files}
        yield PackedExperiment(path, entries, _verify(path, entries))
        return
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; give an archive that was packed")
    try:
        file = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise UserError(f"{path}: not a zip file, or cut short ({error})") from error
    with file:
        entries = _zip_entries(path, file)
        yield PackedExperiment(path, entries, _verify(path, entries))


def read_config(text: str | bytes, where: str) -> dict:
    """Return the configuration that :func:`samedge.config.experiment.resolved` has written.

    Raises
    ------
    UserError
        If it is none, or lacks what decides the archive's name and its figures.
    """
    try:
        config = json.loads(text)
        plain = is_plain(config["experiment"]) and "/" not in config["experiment"]
        _ = (
            config["figures"]["time_axis"],
            [task["figure_rho"] for task in config["tasks"].values()],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}: must be the JSON of a resolved configuration, as in an archive's {CONFIG} "
            f"({type(error).__name__}: {error})"
        ) from error
    if not plain:
        raise UserError(f"{where}: experiment: found {config['experiment']!r}, must name a folder")
    return config


def is_plain(name: str) -> bool:
    """Return whether a name in an archive stays below its folder, and is one line of a manifest."""
    parts = name.split("/")
    return not re.search(r"[\\:\x00-\x1f\x7f]", name) and not {"", ".", ".."} & {*parts}


def digest(file: IO[bytes]) -> str:
    """Return the SHA-256 (hexadecimal) of an open file."""
    # hashlib.file_digest wants a buffer, which a file in a zip does not lend.
    found = hashlib.sha256()
    while piece := file.read(2**20):
        found.update(piece)
    return found.hexdigest()


def manifest(checksums: Mapping[str, str]) -> str:
    """Return the manifest of files, by name, in the format of ``sha256sum``."""
    return "".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items()))


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _zip_entries(path: Path, file: zipfile.ZipFile) -> Entries:
    """Return the files of a zip by their names below its one folder."""
    infos = file.infolist()
    unsafe = [info.filename for info in infos if not is_plain(info.filename.removesuffix("/"))]
    if unsafe:
        raise UserError(
            f"{path}: unsafe, nothing was unpacked: names in it lead out of its folder: "
            + ", ".join(map(repr, unsafe))
        )
    links = [info.filename for info in infos if stat.S_ISLNK(info.external_attr >> 16)]
    if links:
        raise UserError(f"{path}: unsafe, nothing was unpacked: links in it: {', '.join(links)}")
    twice = [name for name, count in Counter(file.namelist()).items() if count > 1]
    if twice:
        raise UserError(f"{path}: damaged, it has two files of one name: {', '.join(twice)}")
    inside = [info for info in infos if not info.is_dir()]
    folders = {info.filename.partition("/")[0] for info in inside if "/" in info.filename}
    if len(folders) != 1 or any("/" not in info.filename for info in inside):
        raise UserError(
            f"{path}: not an archive of an experiment, which has all its files in one folder; "
            f"here are {', '.join(sorted({info.filename.partition('/')[0] for info in inside}))}"
        )
    return {info.filename.partition("/")[2]: partial(file.open, info) for info in inside}


def _verify(path: Path, entries: Entries) -> dict[str, str]:
    """Return the checksums in the manifest, once every file has been compared with them."""
    require_known_version(path, _stated_version(entries), VERSION_KEY)
    if MANIFEST not in entries:
        raise UserError(f"{path}: not an archive of an experiment: it has no {MANIFEST}")
    checksums = _checksums(path, entries[MANIFEST])
    unlisted = {CONFIG, METADATA} - checksums.keys()
    if unlisted:
        raise UserError(
            f"{path}: not an archive of an experiment: its {MANIFEST} does not name "
            + ", ".join(sorted(unlisted))
        )
    problems = [
        f"{name}: not in {MANIFEST}, so not part of the archive"
        for name in sorted(entries.keys() - checksums.keys() - {MANIFEST})
    ]
    for name, checksum in checksums.items():
        if name not in entries:
            problems.append(f"{name}: missing")
            continue
        try:
            with entries[name]() as file:
                found = digest(file)
        except UNREADABLE as error:
            problems.append(f"{name}: damaged, it cannot be read ({error})")
            continue
        if found != checksum:
            problems.append(f"{name}: damaged, its SHA-256 is not that in {MANIFEST}")
    if problems:
        raise UserError(
            "\n  ".join([f"{path}: not as it was packed, get another copy:", *problems])
        )
    return checksums


def _stated_version(entries: Entries) -> dict[str, str]:
    """Return the version that the metadata state, by its key; nothing if they cannot be read.

    That is before any file has been verified: a later version may have another manifest.
    """
    try:
        with entries[METADATA]() as file:
            described = json.loads(file.read())["@graph"]
        (root,) = (entity for entity in described if entity["@id"] == ROOT)
        return {VERSION_KEY: root[VERSION_KEY]}
    except (*UNREADABLE, ValueError, KeyError, TypeError):
        return {}


def _checksums(path: Path, open_manifest: Callable[[], IO[bytes]]) -> dict[str, str]:
    """Read a manifest."""
    try:
        with open_manifest() as file:
            lines = file.read().decode().splitlines()
    except (*UNREADABLE, UnicodeDecodeError) as error:
        raise UserError(f"{path}: its {MANIFEST} is damaged ({error})") from error
    checksums = {}
    for line in lines:
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not found or not is_plain(found[2]):
            raise UserError(
                f"{path}: its {MANIFEST} is damaged: {line!r} is not a SHA-256, two spaces and "
                "the name of a file in the archive"
            )
        checksums[found[2]] = found[1]
    return checksums
