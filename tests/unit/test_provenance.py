"""What a run file says about where it comes from."""

import os
import shutil
import subprocess
import sys

import pytest

from samedge.machine.provenance import LOCK, UNKNOWN, unlocked

TEXT = (
    "jax==0.10.2 \\\n    --hash=sha256:00\nDM_haiku==0.0.17 ; python_version >= '3' \\\n"
    "    --hash=sha256:11\nnetcdf4==1.7.5.1\n"
)


def test_packages_of_other_versions_than_the_locks_are_named(tmp_path):
    lock = tmp_path / "requirements.txt"
    lock.write_text(TEXT)
    locked = {"jax": "0.10.2", "dm-haiku": "0.0.17", "netCDF4": "1.7.5.1"}
    assert unlocked(locked, lock) == ""
    assert unlocked({"jax": "0.10.2+cuda"}, lock) == ""
    assert unlocked(locked | {"jax": "0.12.0", "optax": "0.2"}, lock) == (
        "jax 0.12.0 (lock: 0.10.2), optax 0.2 (lock: none)"
    )


def test_without_a_lock_nothing_is_claimed_to_be_locked(tmp_path):
    assert unlocked({"jax": "0.10.2"}, tmp_path / "none.txt") == "unknown (no lock found)"


def test_the_lock_is_the_one_of_this_checkout(repository):
    assert repository / "envs" / "requirements.txt" == LOCK


@pytest.fixture
def place(repository, tmp_path):
    """Return a function that puts the package below a folder, and returns its own."""

    def put(folder):
        package = tmp_path / folder / "samedge"
        ignored = shutil.ignore_patterns("__pycache__")
        return shutil.copytree(repository / "workflow/scripts/samedge", package, ignore=ignored)

    return put


def said(package, **environment):
    """Return the commit and the packages beyond the lock that a package names."""
    code = (
        "from samedge.machine import provenance\n"
        "print(provenance.git_commit())\n"
        "print(provenance.unlocked({'jax': '0.10.2'}))\n"
    )
    path = {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | path | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def commit(root, *paths):
    """Make a folder a repository, commit these paths in it, and return the commit."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(root)]
    subprocess.run([*git, "init", "-q"], check=True)
    if paths:
        subprocess.run([*git, "add", "--", *paths], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a commit"], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_checkout_that_has_the_package(place, tmp_path, repository):
    package = place("workflow/scripts")
    shutil.copytree(repository / "envs", tmp_path / "envs")
    assert said(package) == [UNKNOWN, ""]
    first = commit(tmp_path, "workflow", "envs")
    assert said(package) == [first, ""]
    # A hook of another repository runs with its name in the environment.
    (tmp_path / "other").mkdir()
    commit(tmp_path / "other")
    assert said(package, GIT_DIR=str(tmp_path / "other/.git")) == [first, ""]
    with (package / "updates/edges.py").open("a") as module:
        module.write("# changed\n")
    assert said(package) == [f"{first}-dirty", ""]


def test_the_commit_of_a_repository_around_an_unpacked_tarball_is_not_ours(place, tmp_path):
    package = place("samedge-1.0/workflow/scripts")
    commit(tmp_path)
    assert said(package)[0] == UNKNOWN
    commit(tmp_path, "samedge-1.0")
    assert said(package)[0] == UNKNOWN


def test_a_repository_at_our_place_that_does_not_track_us_is_not_ours(place, tmp_path):
    package = place("workflow/scripts")
    commit(tmp_path)
    assert said(package)[0] == UNKNOWN


def test_an_installed_package_has_neither_commit_nor_lock(place, tmp_path):
    """A lock that lies where a checkout's would be is another project's."""
    package = place("lib/python3.11/site-packages")
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/requirements.txt").write_text(TEXT)
    commit(tmp_path, "lib", "envs")
    assert said(package) == [UNKNOWN, "unknown (no lock found)"]
