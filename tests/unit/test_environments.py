"""The locks, the conda environments and the rules that name them agree with each other."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from samedge.base.components import PLACES

REPOSITORY = Path(__file__).resolve().parents[2]
ENVS = REPOSITORY / "envs"
SCRIPTS = REPOSITORY / "workflow" / "scripts"
MAIN = "requirements.txt"

# Lock -> the requirement files that it answers; conda environment -> its file and its lock.
LOCKS = {
    MAIN: ["workflow.in", "cluster.in", "read.in", "train.in", "figures.in", "develop.in"],
    "requirements-build.txt": ["build.in"],
    "requirements-data.txt": ["data.in"],
    "requirements-gpu.txt": ["train-gpu.in"],
    "requirements-torch.txt": ["torch.in"],
    "requirements-benchmark.txt": ["benchmark.in"],
    "requirements-torch-cpu.txt": ["torch.in"],
    "requirements-remote.txt": ["remote.in"],
    "requirements-googlebatch.txt": ["googlebatch.in", "workflow.in"],
}
# Versions of its own that a lock has of a package, since what it holds wants an older one.
HELD_BACK = {
    "requirements-remote.txt": {"python-dateutil"},
    "requirements-googlebatch.txt": {"protobuf"},
}
CONDA = {
    "data.yaml": ("data.in", "requirements-data.txt"),
    "train.yaml": ("train.in", MAIN),
    "train-gpu.yaml": ("train-gpu.in", "requirements-gpu.txt"),
    "figures.yaml": ("figures.in", MAIN),
}


def parse(lines: list[str]) -> dict[str, Requirement]:
    """Return requirements by canonical name; a name that stands twice is an error."""
    requirements = [Requirement(line) for line in lines]
    names = [canonicalize_name(requirement.name) for requirement in requirements]
    assert len(set(names)) == len(names), f"named twice: {sorted(names)}"
    return dict(zip(names, requirements, strict=True))


def logical_lines(path: Path) -> list[str]:
    """Return the lines of a requirement file, continued ones joined, without comments."""
    joined = re.sub(r"\\\n\s*", "", path.read_text())
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def asked(source: str) -> dict[str, list[Requirement]]:
    """Return what an ``.in`` file and those it includes ask for, by canonical name."""
    found: dict[str, list[Requirement]] = {}
    for line in logical_lines(ENVS / source):
        if line.startswith("-r "):
            for name, requirements in asked(line.removeprefix("-r ")).items():
                found.setdefault(name, []).extend(requirements)
        else:
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


def locked(lock: str) -> dict[str, Requirement]:
    """Return the requirements of a lock by canonical name, without their hashes."""
    return parse([line.partition(" --hash")[0] for line in logical_lines(ENVS / lock)])


def conda_dependencies(environment: str) -> tuple[list[str], dict[str, Requirement]]:
    """Return the conda dependencies and the pip requirements of a conda environment."""
    dependencies = yaml.safe_load((ENVS / environment).read_text())["dependencies"]
    conda = [entry for entry in dependencies if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return conda, parse(pip)


def pin(requirement: Requirement) -> str:
    """Return the one version that a requirement allows; anything looser is an error."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==" and "*" not in specifier.version, str(requirement)
    return specifier.version


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_of_a_lock_is_exact_and_hashed(lock):
    for line in logical_lines(ENVS / lock):
        assert pin(Requirement(line.partition(" --hash")[0]))
        assert re.search(r" --hash=sha256:[0-9a-f]{64}", line), line


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_asked_for_is_in_its_lock(lock):
    pins = locked(lock)
    for source in LOCKS[lock]:
        for name, requirements in asked(source).items():
            for requirement in requirements:
                assert requirement.specifier.contains(pin(pins[name])), f"{source}: {requirement}"


def test_locks_share_one_version_of_each_package():
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, requirement in locked(lock).items():
            if name not in HELD_BACK.get(lock, ()):
                versions.setdefault(name, set()).add(Version(pin(requirement)).public)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_no_version_is_held_back_without_need():
    main = locked(MAIN)
    for lock, names in HELD_BACK.items():
        for name in names:
            assert Version(pin(locked(lock)[name])) < Version(pin(main[name])), f"{lock}: {name}"


def test_every_requirement_file_belongs_to_a_lock():
    sources = {source for names in LOCKS.values() for source in names}
    assert {path.name for path in ENVS.glob("*.in")} == sources
    assert {path.name for path in ENVS.glob("*.txt")} == set(LOCKS)
    assert {path.name for path in ENVS.glob("*.yaml")} == set(CONDA)


@pytest.mark.parametrize("environment", CONDA)
def test_the_pip_part_repeats_the_lock_exactly(environment):
    _, lock = CONDA[environment]
    pins = locked(lock)
    _, pip = conda_dependencies(environment)
    differing = {
        name: str(requirement)
        for name, requirement in pip.items()
        if name not in pins
        or pin(requirement) != pin(pins[name])
        or str(requirement.marker) != str(pins[name].marker)
    }
    assert differing == {}


@pytest.mark.parametrize("environment", CONDA)
def test_a_conda_environment_holds_all_that_its_jobs_ask_for(environment):
    source, _ = CONDA[environment]
    _, pip = conda_dependencies(environment)
    assert asked(source).keys() <= pip.keys()


@pytest.mark.parametrize("environment", CONDA)
def test_conda_gives_an_exact_python_and_pip_and_nothing_else(environment):
    conda, _ = conda_dependencies(environment)
    assert [re.sub(r"=[\d.]+$", "", entry) for entry in conda] == ["python", "pip"]
    assert conda[0].startswith("python=3.11.")
    assert conda[1] == f"pip={pin(locked('requirements-build.txt')['pip'])}"


def test_only_the_data_environment_has_tensorflow():
    def with_tensorflow(names: list[str], contents) -> set[str]:
        return {name for name in names if {"tensorflow", "tensorflow-cpu"} & contents(name).keys()}

    assert with_tensorflow(list(LOCKS), locked) == {"requirements-data.txt"}
    assert with_tensorflow(list(CONDA), lambda name: conda_dependencies(name)[1]) == {"data.yaml"}


def test_the_figures_environment_has_no_jax():
    _, pip = conda_dependencies("figures.yaml")
    assert not {"jax", "jaxlib", "flax", "dm-haiku", "optax"} & pip.keys()


def test_pytorch_and_what_its_index_build_needs_are_in_no_other_lock():
    index, cpu = locked("requirements-torch.txt"), locked("requirements-torch-cpu.txt")
    (torch,) = cpu.values()
    assert pin(torch) == f"{pin(index['torch'])}+cpu"
    cuda = {name for name in index if name.startswith(("torch", "triton", "cuda-", "nvidia-"))}
    benchmark = locked("requirements-benchmark.txt")
    # With either build, all that it needs is there.
    assert index.keys() - benchmark.keys() == cuda
    assert benchmark.keys() & cuda == set()


def planned(folder: Path, *arguments: str) -> str:
    """Return the commands that make would run for an environment in a folder."""
    # A make above this test would hand its own flags and variables down.
    settings = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}
    command = ["make", "--dry-run", "--no-print-directory", "environment", *arguments]
    done = subprocess.run(command, cwd=folder, env=settings, check=True, capture_output=True)
    return done.stdout.decode()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with what make needs to build an environment."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    shutil.copytree(ENVS, tmp_path / "envs")
    return tmp_path


def test_make_takes_a_whole_environment_and_no_other(checkout):
    building = "-m venv --clear .venv"
    plan = planned(checkout)
    assert building in plan
    (stamp,) = set(re.findall(r"touch (\S+)", plan))

    (checkout / ".venv" / "bin").mkdir(parents=True)
    assert building in planned(checkout), "half-made: no stamp yet"

    (checkout / stamp).touch()
    assert building not in planned(checkout)
    assert "-m venv --clear .venv-gpu" in planned(checkout, "GPU=1")

    with (checkout / "envs" / MAIN).open("a") as lock:
        lock.write("# another lock\n")
    assert building in planned(checkout), "outdated: the lock has changed"


def fake_python(folder: Path, name: str, version: str, answers: str = "exit 0") -> None:
    """Put a program on a folder's path that answers make's questions as that Python would."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        f"case $2 in *version_info*) exec {sys.executable} -c 'import sys; "
        f"sys.exit(not (3, 11) <= ({version}) <= (3, 13))';; *) {answers};; esac\n"
    )
    path.chmod(0o755)


def made(folder: Path, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Let make build an environment with ``path`` and a few of the system's tools alone."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("sh", "cat", "cksum", "cut", "echo", "rm", "touch"):
        (tools / name).unlink(missing_ok=True)
        (tools / name).symlink_to(shutil.which(name))
    command = [shutil.which("make"), "--no-print-directory", "environment", *arguments]
    settings = {"PATH": f"{path}{os.pathsep}{tools}"}
    return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True)


def test_make_takes_the_newest_python_that_fits(checkout, tmp_path):
    path = tmp_path / "pythons"
    for name, version in (("python3.11", "3, 11"), ("python3.12", "3, 12"), ("python3", "3, 14")):
        fake_python(path, name, version)
    assert "with python3.12 from" in made(checkout, path).stdout
    fake_python(path, "python3.13", "3, 13")
    assert "with python3.13 from" in made(checkout, path).stdout
    assert "with python3.11 from" in made(checkout, path, "PYTHON=python3.11").stdout


def test_make_says_how_to_get_a_python_where_none_fits(checkout, tmp_path):
    path = tmp_path / "pythons"
    fake_python(path, "python3", "3, 14")
    done = made(checkout, path)
    assert done.returncode != 0
    assert "error: Python 3.11, 3.12 or 3.13 is needed, and none is on the PATH." in done.stderr
    for way in ("apt install python3", "uv python install", "pyenv install", "conda create"):
        assert way in done.stderr
    assert "and 'python3' is not one." in made(checkout, path, "PYTHON=python3").stderr


def test_make_names_the_package_that_makes_environments(checkout, tmp_path):
    path = tmp_path / "pythons"
    fake_python(path, "python3", "3, 13", answers="exit 1")
    done = made(checkout, path)
    assert done.returncode != 0
    assert "'python3' cannot make environments" in done.stderr
    assert "apt install python3-venv" in done.stderr


def test_make_empties_no_environment_of_another_checkout(checkout, tmp_path):
    another = tmp_path / "another"
    another.mkdir()
    (checkout / ".venv").symlink_to(another)
    path = tmp_path / "pythons"
    fake_python(path, "python3", "3, 13")
    done = made(checkout, path)
    assert done.returncode != 0
    assert f"error: .venv is a link, to {another}, and that is not" in done.stderr
    assert "Remove the link (rm .venv)" in done.stderr
    assert "venv --clear" not in done.stdout


def test_make_checks_every_hash_and_takes_nothing_installed(checkout):
    plan = planned(checkout)
    installs = [command for command in plan.split("\n") if "pip install" in command]
    [own] = [command for command in installs if command.endswith(" --editable .")]
    assert "--no-deps" in own  # the package itself, which is these sources
    assert len(installs) > 1
    for command in installs:
        assert command == own or "--require-hashes" in command
        assert "--no-build-isolation" in command
    assert "system-site-packages" not in plan


def test_the_container_is_made_from_the_locks_as_make_makes_the_environment():
    text = re.sub(r"\\\n\s*", "", (REPOSITORY / "Dockerfile").read_text())
    (version,) = re.findall(r"^FROM python:([\d.]+)-", text, re.MULTILINE)
    assert conda_dependencies("train.yaml")[0][0] == f"python={version}"
    (locks,) = re.findall(r"for lock in (.+?); do", text)
    names = [name for name in locks.split() if name != "$LOCK"]
    assert names == ["requirements-build.txt", MAIN, "requirements-remote.txt"]
    assert "requirements-gpu.txt" in LOCKS
    makefile = re.sub(r"\\\n\s*", "", (REPOSITORY / "Makefile").read_text())
    (options,) = re.findall(r"^PIP_INSTALL = -m pip install --quiet (.+)$", makefile, re.MULTILINE)
    assert f"python -m pip install {options} " in re.sub(r" +", " ", text)


def imports(path: Path) -> set[str]:
    """Return the dotted names that a Python file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def needed(paths: list[Path]) -> set[str]:
    """Return the other people's packages that files import, themselves or through samedge."""
    waiting, seen, found = list(paths), set(), set()
    while waiting:
        path = waiting.pop()
        seen.add(path)
        for name in imports(path):
            top, _, rest = name.partition(".")
            if top != "samedge":
                found.add(top)
                continue
            # A name is a module, or something in it.
            for dotted in (rest, rest.rpartition(".")[0]):
                module = SCRIPTS / "samedge" / f"{dotted.replace('.', '/')}.py"
                if module.is_file() and module not in seen:
                    waiting.append(module)
    return found - set(sys.stdlib_module_names)


def unmet(names: set[str], requirements: Collection[str]) -> set[str]:
    """Return the import names that no requirement provides."""
    distributions = packages_distributions()
    return {
        name
        for name in names
        if not {canonicalize_name(found) for found in distributions.get(name, [])}
        & set(requirements)
    }


def test_every_import_of_the_package_is_asked_for():
    sources = [source for source in LOCKS[MAIN] if source != "develop.in"]
    requirements = {name for source in sources for name in asked(source)}
    assert unmet(needed(list(SCRIPTS.rglob("*.py"))), requirements) == set()


def rules_with_command() -> dict[str, tuple[str, list[str]]]:
    """Return by "file: rule" the text of the rule and the conda environments that it names.

    One that copies a file is none of them: it runs where Snakemake does, without Python.
    """
    found = {}
    for path in sorted((REPOSITORY / "workflow/rules").glob("*.smk")):
        # In a loop a rule is indented and has no name.
        blocks = re.split(r"^ *rule ?(\w*):$", path.read_text(), flags=re.MULTILINE)
        for name, body in zip(blocks[1::2], blocks[2::2], strict=True):
            if not name.startswith("copy_") and re.search(r"^ +(shell|script|run):$", body, re.M):
                block = r"^ +conda:$(.+?)(?=^ {4,8}\w+:$|\Z)"
                conda = re.search(block, body, re.MULTILINE | re.DOTALL)
                environments = re.findall(r"envs/([\w-]+\.yaml)", conda[1]) if conda else []
                found[f"{path.name}: {name}"] = body, environments
    return found


def test_every_rule_with_a_command_names_a_conda_environment_that_exists():
    rules = rules_with_command()
    assert rules, "no rule found under workflow/rules"
    for rule, (_, environments) in rules.items():
        assert environments, f"{rule} names no conda environment"
        assert set(environments) <= CONDA.keys(), rule


def test_the_conda_environment_of_a_rule_holds_what_its_script_imports():
    for rule, (body, environments) in rules_with_command().items():
        scripts = [f"{name}.py" for name in re.findall(r'script\("(\w+)"\)', body)]
        # One rule for each of these, in a loop.
        kinds = ("density", "blocks", "stochastic", "way")
        scripts += [f"plot_{kind}.py" for kind in kinds if 'script(f"plot_{measured}")' in body]
        assert scripts, f"{rule} names no script"
        # Components are imported when they are looked up.
        looked_up = [
            file
            for sort, place in PLACES.items()
            if (sort == "dataset") == ("prepare_data.py" in scripts)
            and {"prepare_data.py", "train_run.py", "audit_run.py"} & {*scripts}
            for file in (SCRIPTS / "samedge" / place.files).glob("*.py")
        ]
        imported = needed([*(SCRIPTS / script for script in scripts), *looked_up])
        assert ("flax" in imported) == (scripts[0] in ("train_run.py", "audit_run.py"))
        for environment in environments:
            _, pip = conda_dependencies(environment)
            assert unmet(imported, pip) == set(), f"{rule}: not in {environment}"


def test_no_file_names_a_package_index():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout, so the files that belong to it are not known")
    # Written so that this file does not match itself.
    index = re.compile(
        rb"p[y]pi\.|python[h]osted|ana[c]onda\.|-[-](extra-)?index-url|-[-]find-links"
    )
    paths = [REPOSITORY / name.decode() for name in done.stdout.split(b"\0") if name]
    assert [str(path) for path in paths if path.is_file() and index.search(path.read_bytes())] == []
