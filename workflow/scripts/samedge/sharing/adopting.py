"""Finished runs of another clone or machine taken over, each verified before it is."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from filecmp import cmp
from pathlib import Path

from samedge.base.errors import UserError
from samedge.base.files import check_seal, whole_file
from samedge.config.grid import AXES
from samedge.config.settings import Experiment, RunSettings
from samedge.data.file import read_data
from samedge.records.cubes import differences
from samedge.records.merging import RunFile, read_run_file
from samedge.records.states import read_states

#: Attributes without which nobody can say what made a run.
RECORDED = ("git_commit", "package_versions", "device")


@dataclass
class Adoption:
    """What became of the runs that an experiment asks for.

    Attributes
    ----------
    adopted
        Those whose files were found, verified, and now lie among the results.
    refused
        Those whose files were found and are not taken, each with the reason.
    absent
        Those of which there is no run file.
    commits
        The commits that the adopted ones were made by.
    """

    adopted: list[RunSettings] = field(default_factory=list)
    refused: list[tuple[RunSettings, str]] = field(default_factory=list)
    absent: list[RunSettings] = field(default_factory=list)
    commits: set[str] = field(default_factory=set)

    def lines(self) -> Iterator[str]:
        """Yield what to tell of it, every run by its name."""
        for what, runs in (("adopted", self.adopted), ("not there, to be trained", self.absent)):
            for task in dict.fromkeys(run.task for run in runs):
                names = [run.name for run in runs if run.task == task]
                yield f"{task}: {len(names)} runs {what}: {', '.join(names)}"
        if self.commits:
            yield f"made by the sources of: {', '.join(sorted(self.commits))}"
        for run, reason in self.refused:
            yield f"refused: {run.task} {run.name}: {reason}"


def files_of(run: RunSettings, results: Path, states: bool = False) -> dict[str, Path]:
    """Return the files of a run among an experiment's results: those that its training writes.

    ``states`` says whether others start from it.
    """
    found = {"run": results / "runs" / run.task / f"{run.name}.nc"}
    if run.audit.at:
        found["parameters"] = results / "parameters" / run.task / f"{run.name}.nc"
    if states:
        found["states"] = results / "states" / run.task / f"{run.name}.npz"
    return found


def data_file(task: str, results: Path) -> Path:
    """Return the data file of a task among an experiment's results."""
    return results / "data" / f"{task}.npz"


def adopt(experiment: Experiment, source: Path, results: Path) -> Adoption:
    """Verify the runs under ``source`` and copy those that are the experiment's to ``results``.

    A run is taken over if its files are as they were written (they end with the SHA-256 of their
    contents), are of a version of the schema that is known, have the settings that the experiment
    asks for and the checksum of the data file among ``results``, and say what made them. Of a job
    that trains several runs, all are taken over or none.

    Parameters
    ----------
    experiment
        What is asked for.
    source, results
        Folders of an experiment's results, such as ``results/default``; both may be the same.

    Raises
    ------
    UserError
        If a data file among ``results`` is missing or damaged.
    """
    adoption = Adoption()
    for task in experiment.tasks:
        checksum = read_data(data_file(task, results)).checksum
        shares = experiment.states_at(task)
        good: list[tuple[RunSettings, str]] = []
        for run in experiment.runs(task):
            found, target = (files_of(run, folder, bool(shares)) for folder in (source, results))
            if not found["run"].is_file():
                adoption.absent.append(run)
                continue
            try:
                commit = _verify(run, found, checksum, shares)
                _require_free(found, target)
            except UserError as problem:
                adoption.refused.append((run, str(problem)))
                continue
            good.append((run, commit))
        for run, commit in _of_whole_jobs(good, experiment, adoption):
            targets = files_of(run, results, bool(shares))
            for kind, path in files_of(run, source, bool(shares)).items():
                _copy(path, targets[kind])
            adoption.adopted.append(run)
            adoption.commits.add(commit)
    return adoption


def _verify(
    run: RunSettings, found: dict[str, Path], checksum: str, shares: Sequence[float]
) -> str:
    """Return the commit that made a run, once its files are those that are asked for.

    ``shares`` are those of its budget at which others start from it.

    Raises
    ------
    UserError
        If they are not, with the reason.
    """
    file = read_run_file(found["run"])
    stated = {"run": (file.attributes["settings"], file.attributes["data_checksum"])}
    if "parameters" in found:
        # It is read with JAX, which an experiment without an audit needs not load.
        from samedge.records.parameters import read_parameters

        saved = read_parameters(found["parameters"])
        stated["parameters"] = saved.settings, saved.data_checksum
        steps = file.values["step"]
        strange = [check.step for check in saved.kept if check.step not in steps]
        if strange:
            raise UserError(
                f"{found['parameters']}: has a check at step {strange[0]}, the run file has none"
            )
    if "states" in found:
        content = read_states(found["states"])
        stated["states"] = content["settings"], content["data_checksum"]
        kept = [one["at"] for one in content["kept"]]
        lacking = [share for share in shares if share not in kept]
        if lacking and content["outcome"]["status"] == "completed":
            raise UserError(f"{found['states']}: has no state at the share {lacking[0]}")
    for kind, path in found.items():
        if kind != "states":  # whose contents have checksums of their own
            _require_sealed(path)
        settings, data = stated[kind]
        if settings != run.to_json():
            other = differences(json.loads(str(settings)), json.loads(run.to_json()))
            raise UserError(f"{path}: other settings: {'; '.join(other)}")
        if data != checksum:
            raise UserError(
                f"{path}: other data: trained on the SHA-256 {data}, the data file here has "
                f"{checksum}"
            )
    return _commit(found["run"], file)


def _commit(path: Path, file: RunFile) -> str:
    """Return the commit that a run file states, which has to say more of where it comes from."""
    silent = [name for name in RECORDED if not file.attributes[name]]
    if silent:
        raise UserError(f"{path}: does not say what made it: {', '.join(silent)} is empty")
    return str(file.attributes["git_commit"])


def _require_sealed(path: Path) -> None:
    if not check_seal(path):
        raise UserError(
            f"{path}: does not end with the SHA-256 of its contents, so it was changed by another "
            "program or written by an earlier version; nobody can say that it is whole"
        )


def _require_free(found: dict[str, Path], target: dict[str, Path]) -> None:
    """Refuse to put a file where another one lies."""
    for kind, path in target.items():
        if path.exists() and not cmp(found[kind], path, shallow=False):
            raise UserError(f"{path}: another file is there; delete it to take {found[kind]}")


def _of_whole_jobs(
    good: Sequence[tuple[RunSettings, str]], experiment: Experiment, adoption: Adoption
) -> list[tuple[RunSettings, str]]:
    """Return those of a task's good runs whose job has no other; refuse the rest of them."""
    place = _place_of(experiment)
    bad = {place(run): run for run in (*adoption.absent, *(run for run, _ in adoption.refused))}
    whole = []
    for run, commit in good:
        if place(run) not in bad:
            whole.append((run, commit))
            continue
        other = bad[place(run)].name
        reason = f"one job trains it together with {other}, which is not taken over"
        adoption.refused.append((run, reason))
    return whole


def _place_of(experiment: Experiment) -> Callable[[RunSettings], tuple]:
    """Return what tells a run's training job from the others."""
    apart = [axis for axis in AXES if axis not in experiment.together.axes]
    return lambda run: (run.task, *(getattr(run, axis) for axis in apart))


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        with whole_file(target) as temporary:
            shutil.copyfile(source, temporary)
