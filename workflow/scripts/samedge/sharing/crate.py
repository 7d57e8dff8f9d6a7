"""The RO-Crate metadata of an archive: what every file is, and what it was made from.

An RO-Crate is a folder of research data with one JSON-LD file that describes them to programs, in
the vocabulary of schema.org; see https://w3id.org/ro/crate/1.2.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import xarray as xr
from rocrate.model import ContextEntity, Entity, Person, SoftwareApplication
from rocrate.rocrate import ROCrate

from samedge import __version__
from samedge.records import describe
from samedge.records.schema import VERSION
from samedge.sharing import contents
from samedge.sharing.archive import CONFIG, MANIFEST, VERSION_KEY

CRATE_VERSION = "1.2"
LICENSE = "https://www.apache.org/licenses/LICENSE-2.0"
PAPER = "https://arxiv.org/abs/2309.12488"
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".nc": "application/x-netcdf",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".yaml": "application/yaml",
}
UNKNOWN_FORMAT = "application/octet-stream"


@dataclass(frozen=True)
class PackedFile:
    """A file of an archive: its name there, its size in bytes, its SHA-256 (hexadecimal)."""

    name: str
    size: int
    sha256: str


def metadata(
    name: str, cubes: Mapping[str, xr.Dataset], files: Sequence[PackedFile], date: str
) -> str:
    """Return the text of the metadata file.

    Parameters
    ----------
    name
        Of the experiment.
    cubes
        Its cubes by task, which are also among the files.
    files
        All files but the metadata and the manifest, which name each other's checksums.
    date
        When the archive was published: year-month-day.
    """
    crate = ROCrate(version=CRATE_VERSION)
    root = crate.root_dataset
    root["name"] = f"At the edge of stability: experiment '{name}'"
    root["description"] = contents.summary(name, cubes)
    root["datePublished"] = date
    root[VERSION_KEY] = str(VERSION)
    root["license"] = _license(crate)
    root["citation"] = _paper(crate)
    software = _software(crate, cubes)
    entities = {file.name: _file(crate, file, cubes) for file in files}
    manifest = {
        "name": MANIFEST,
        "description": contents.meaning(MANIFEST, cubes)[0],
        "encodingFormat": _format(MANIFEST),
    }
    crate.add_file(dest_path=MANIFEST, properties=manifest)
    root["mentions"] = [
        *_trainings(crate, cubes, entities, software),
        *_evaluations(crate, cubes, entities, software),
    ]
    return json.dumps(crate.metadata.generate(), indent=2, ensure_ascii=False) + "\n"


def _trainings(
    crate: ROCrate,
    cubes: Mapping[str, xr.Dataset],
    entities: Mapping[str, Entity],
    software: Entity,
) -> list[Entity]:
    """Add how each cube came from its data and the configuration."""
    return [
        _add(
            crate,
            f"#train-{task}",
            "CreateAction",
            name=f"Train the runs of {task}, measure their curvature, merge them into a cube",
            description=describe.training_description(cube),
            instrument=software,
            object=[_data(crate, task, cube), entities[CONFIG]],
            result=entities[contents.cube_name(task)],
        )
        for task, cube in cubes.items()
    ]


def _evaluations(
    crate: ROCrate,
    cubes: Mapping[str, xr.Dataset],
    entities: Mapping[str, Entity],
    software: Entity,
) -> list[Entity]:
    """Add how everything else came from cubes, and link each file with its cubes."""
    results: dict[tuple[str, ...], list[Entity]] = {}
    for name, entity in entities.items():
        _, tasks = contents.meaning(name, cubes)
        if tasks:
            entity["isBasedOn"] = [entities[contents.cube_name(task)] for task in tasks]
            results.setdefault(tasks, []).append(entity)
    return [
        _add(
            crate,
            f"#evaluate-{'-'.join(tasks)}",
            "CreateAction",
            name=f"Evaluate and draw the runs of {', '.join(tasks)}",
            description="Reads cubes and configuration; trains and measures nothing.",
            instrument=software,
            object=[entities[name] for name in (*map(contents.cube_name, tasks), CONFIG)],
            result=made,
        )
        for tasks, made in results.items()
    ]


def _file(crate: ROCrate, file: PackedFile, cubes: Mapping[str, xr.Dataset]) -> Entity:
    properties = {
        "name": PurePosixPath(file.name).name,
        "description": contents.meaning(file.name, cubes)[0],
        "encodingFormat": _format(file.name),
        "contentSize": str(file.size),
        "sha256": file.sha256,
    }
    return crate.add_file(dest_path=file.name, properties=properties)


def _data(crate: ROCrate, task: str, cube: xr.Dataset) -> Entity:
    """Add the data that a cube's runs were trained on, which are not in the archive."""
    stand_in = describe.stand_in_warning({task: cube})
    return _add(
        crate,
        f"#data-{task}",
        "Dataset",
        name=f"Data of {task}",
        description=f"{describe.join_values(cube.attrs['data_description'])}. {stand_in}Not in the "
        f"archive; source: {describe.join_values(cube.attrs['data_source'])}.",
        identifier=[
            f"sha256:{checksum}" for checksum in describe.values_of(cube.attrs["data_checksum"])
        ],
    )


def _software(crate: ROCrate, cubes: Mapping[str, xr.Dataset]) -> Entity:
    """Add samedge, and the packages that the runs of the cubes were trained with."""
    packages = {
        pair
        for cube in cubes.values()
        for versions in describe.values_of(cube.attrs["package_versions"])
        for pair in json.loads(versions).items()
    }
    requirements = [
        crate.add(
            SoftwareApplication(
                crate, f"#{package}-{version}", {"name": package, "softwareVersion": version}
            )
        )
        for package, version in sorted(packages)
    ]
    properties = {
        "name": "samedge",
        "description": "Trains, measures and draws. The version is that which packed the archive, "
        "the commit that which trained the runs.",
        "softwareVersion": __version__,
        "version": [f"git commit {commit}" for commit in contents.commits_of(cubes)],
        "license": {"@id": LICENSE},
        "softwareRequirements": requirements,
    }
    return crate.add(SoftwareApplication(crate, "#samedge", properties))


def _license(crate: ROCrate) -> Entity:
    return _add(
        crate,
        LICENSE,
        "CreativeWork",
        name="Apache License 2.0",
        identifier="Apache-2.0",
        url=LICENSE,
    )


def _paper(crate: ROCrate) -> Entity:
    """Add the paper that is reproduced."""
    journal = _add(crate, "#jmlr", "Periodical", name="Journal of Machine Learning Research")
    authors = [
        crate.add(Person(crate, f"#{name.split()[-1].lower()}", {"name": name}))
        for name in ("Philip M. Long", "Peter L. Bartlett")
    ]
    return _add(
        crate,
        PAPER,
        "ScholarlyArticle",
        name="Sharpness-Aware Minimization and the Edge of Stability",
        author=authors,
        datePublished="2024",
        isPartOf=journal,
        pagination="25(179), 1-20",
        url=PAPER,
    )


def _add(crate: ROCrate, identifier: str, kind: str, /, **properties: object) -> Entity:
    """Add something that is not a file of the archive."""
    return crate.add(ContextEntity(crate, identifier, {"@type": kind, **properties}))


def _format(name: str) -> str:
    return FORMATS.get(PurePosixPath(name).suffix, UNKNOWN_FORMAT)
