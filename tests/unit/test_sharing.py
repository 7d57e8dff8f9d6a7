"""An experiment is packed, checked, and drawn again from what was packed."""

import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from hashlib import sha256

import pytest
from rocrate.rocrate import ROCrate

import pack_experiment
import plot_density
import plot_figure
import plot_supplement
from samedge.analysis.claims import load_claims
from samedge.base.errors import UserError
from samedge.config import experiment
from samedge.records import cubes as collecting
from samedge.records import files as records
from samedge.sharing import archive as unpacking
from samedge.sharing import pack as sharing
from samedge.sharing import redraw
from samedge.sharing.crate import LICENSE
from synthetic import ENVIRONMENT, grid_settings, write_runs

DATE = "2024-06-01"
NAME = "default"
MADE_LAST = {unpacking.METADATA, unpacking.MANIFEST}
DENSITY = {"at": [1.0], "probes": 3, "steps": 4}


@pytest.fixture(scope="module")
def config(repository):
    """The shipped default, resolved."""
    return experiment.resolved(experiment.load([repository / "config.yaml"]))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Cubes of two tasks, one run of them diverged, and files made from them."""
    folder = tmp_path_factory.mktemp("results")
    for task, diverged in (("mnist", {"eta0.3_rho0.1_seed0": 220}), ("cifar10", {})):
        settings = grid_settings(task, density=DENSITY)[-4:]
        runs = folder / "runs" / task
        write_runs(runs, settings, **diverged)
        records.write(collecting.collect(settings, runs), folder / f"cubes/{task}.nc")
    cube = ["--cube", str(folder / "cubes/mnist.nc"), "--rho", "0.1"]
    for number in ("01", "04"):
        outputs = picture(folder, f"figure_{number}")
        plot_figure.main(["--number", str(int(number)), *cube, *outputs])
    plot_density.main([*cube, *picture(folder, "density_mnist")])
    (folder / "claims.csv").write_text("claim,holds\nedge,yes\n")
    (folder / "figures/kept_cifar10.png").write_bytes(b"a picture")
    return folder


def picture(folder, name):
    """Return the arguments that name both files of a figure."""
    return [
        *("--output-pdf", str(folder / f"figures/{name}.pdf")),
        *("--output-png", str(folder / f"figures/{name}.png")),
    ]


@pytest.fixture
def pack(results, config, tmp_path):
    """Pack the results, with some arguments otherwise; return the archive."""

    def packed(output="packed.zip", **changes):
        arguments = {
            "config": config,
            "cubes": [results / f"cubes/{task}.nc" for task in ("mnist", "cifar10")],
            "files": [results / "claims.csv", *sorted((results / "figures").iterdir())],
            "published": DATE,
        }
        sharing.pack(**(arguments | changes), output=tmp_path / output)
        return tmp_path / output

    return packed


def contents(archive):
    """Return the bytes of every file of an archive, by its name below the one folder."""
    with zipfile.ZipFile(archive) as file:
        return {info.filename.removeprefix(f"{NAME}/"): file.read(info) for info in file.infolist()}


def zipped(path, files):
    """Write a zip of these files; a name may stand in it twice."""
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files:
            file.writestr(name, text)
    return path


def altered(archive, changes, relist=False):
    """Return a copy of an archive with other files: None takes one away.

    With ``relist`` the manifest names what is there: an archive that was made so on purpose.
    """
    files = {**contents(archive), **changes}
    files = {name: text for name, text in files.items() if text is not None}
    if relist:
        listed = {name: sha256(files[name]).hexdigest() for name in files.keys() - MADE_LAST}
        listed[unpacking.METADATA] = sha256(files[unpacking.METADATA]).hexdigest()
        files[unpacking.MANIFEST] = unpacking.manifest(listed).encode()
    copy = archive.with_name("altered.zip")
    return zipped(copy, ((f"{NAME}/{name}", text) for name, text in files.items()))


def test_everything_lies_in_one_folder(pack):
    with zipfile.ZipFile(pack()) as file:
        names = file.namelist()
    assert {name.partition("/")[0] for name in names} == {NAME}
    kept = {name.removeprefix(f"{NAME}/") for name in names}
    assert kept == {
        *(
            "README.md",
            "config.yaml",
            "claims.csv",
            "manifest-sha256.txt",
            "ro-crate-metadata.json",
        ),
        *("cubes/mnist.nc", "cubes/cifar10.nc", "figures/kept_cifar10.png"),
        *(
            f"figures/{name}.{kind}"
            for name in ("figure_01", "figure_04", "density_mnist")
            for kind in ("pdf", "png")
        ),
    }


def test_the_configuration_loads_as_the_experiment_that_was_packed(pack, repository, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(contents(pack())["config.yaml"])
    assert experiment.load([path]) == experiment.load([repository / "config.yaml"])


def test_the_crate_describes_every_file_with_its_checksum(pack, tmp_path):
    archive = pack()
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "unpacked")
    crate = ROCrate(tmp_path / "unpacked" / NAME)
    assert crate.datePublished.date().isoformat() == DATE
    assert crate.license.id == LICENSE
    assert crate.root_dataset["citation"].type == "ScholarlyArticle"
    files = contents(archive)
    described = {entity.id: entity for entity in crate.data_entities}
    assert described.keys() == files.keys() - {unpacking.METADATA}
    for name, entity in described.items():
        assert entity["description"] and entity["encodingFormat"], name
        if name != unpacking.MANIFEST:
            assert entity["sha256"] == sha256(files[name]).hexdigest()
            assert int(entity["contentSize"]) == len(files[name])
    assert described["claims.csv"]["encodingFormat"] == "text/csv"


def test_the_crate_says_what_each_file_was_made_from(pack, tmp_path):
    with zipfile.ZipFile(pack()) as file:
        file.extractall(tmp_path)
    crate = ROCrate(tmp_path / NAME)

    def sources(name):
        return [entity.id for entity in crate.get(name).get("isBasedOn", [])]

    assert sources("figures/figure_04.pdf") == ["cubes/mnist.nc"]
    assert sources("figures/kept_cifar10.png") == ["cubes/cifar10.nc"]
    assert sources("claims.csv") == ["cubes/mnist.nc", "cubes/cifar10.nc"]
    assert sources("figures/figure_01.png") == []
    actions = {entity.id: entity for entity in crate.get_by_type("CreateAction")}
    training = actions["#train-mnist"]
    assert training["result"].id == "cubes/mnist.nc"
    assert training["instrument"]["version"] == [f"git commit {ENVIRONMENT['git_commit']}"]
    assert crate.get("#jax-0.10.2")["softwareVersion"] == "0.10.2"
    assert "figures/density_mnist.png" in [one.id for one in actions["#evaluate-mnist"]["result"]]
    assert crate.get("#data-mnist")["identifier"] == [f"sha256:{ENVIRONMENT['data_checksum']}"]


def test_stand_in_data_are_named_wherever_they_matter(pack):
    files = contents(pack())
    assert "data of mnist, cifar10 are stand-ins" in files["README.md"].decode()
    entities = {one["@id"]: one for one in json.loads(files[unpacking.METADATA])["@graph"]}
    assert "data of mnist, cifar10 are stand-ins" in entities["./"]["description"]
    for name in ("cubes/mnist.nc", "figures/figure_04.pdf", "figures/density_mnist.png"):
        assert "a stand-in for MNIST" in entities[name]["description"]
    assert "1 diverged" in entities["cubes/mnist.nc"]["description"]


def test_runs_of_several_commits_and_machines(config, results, tmp_path):
    cube = records.read_cube(results / "cubes/mnist.nc")
    cube.attrs["git_commit"] = json.dumps(["a" * 40, "b" * 40])
    versions = ['{"jax": "0.10.2"}', '{"jax": "0.10.3"}']
    cube.attrs |= {"package_versions": json.dumps(versions), "device": '["cpu", "H100"]'}
    records.write(cube, tmp_path / "mnist.nc")
    sharing.pack(config, [tmp_path / "mnist.nc"], [], tmp_path / "packed.zip", DATE)
    text = contents(tmp_path / "packed.zip")[unpacking.METADATA].decode()
    for part in ("git commit " + "a" * 40, "#jax-0.10.2", "#jax-0.10.3", "Device: cpu, H100."):
        assert part in text


def test_a_cube_without_its_diverged_runs_says_so(config, results, tmp_path):
    cube = collecting.drop_diverged(records.read_cube(results / "cubes/mnist.nc"))
    records.write(cube, tmp_path / "mnist.nc")
    sharing.pack(config, [tmp_path / "mnist.nc"], [], tmp_path / "packed.zip", DATE)
    text = contents(tmp_path / "packed.zip")[unpacking.METADATA].decode()
    assert "Left out: eta0.3_rho0.1_seed0 (diverged at step 220" in text


def test_coreutils_verify_the_manifest(pack, tmp_path):
    with zipfile.ZipFile(pack()) as file:
        file.extractall(tmp_path)
    command = ["sha256sum", "--check", "--strict", unpacking.MANIFEST]
    done = subprocess.run(command, cwd=tmp_path / NAME, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK") == len(contents(tmp_path / "packed.zip")) - 1


def test_equal_inputs_give_equal_bytes(pack, results, tmp_path):
    first = pack("first.zip").read_bytes()
    os.utime(results / "claims.csv", (0, 10**9))
    assert pack("second.zip").read_bytes() == first


def test_the_script_packs(results, config, tmp_path, capsys):
    archive = tmp_path / "packed.zip"
    cube = str(results / "cubes/mnist.nc")
    arguments = ["--config", config, "--cubes", cube, "--date", DATE, "--output", str(archive)]
    pack_experiment.main(arguments)
    assert capsys.readouterr().out == f"{archive}: 5 files\n"
    assert "cubes/mnist.nc" in contents(archive)


# The date


def test_the_date_is_given_or_that_of_the_environment_or_of_the_commit(monkeypatch, repository):
    monkeypatch.delenv(sharing.EPOCH, raising=False)
    command = ["git", "log", "-1", "--format=%H %cs"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout, so that no commit has a date")
    commit, day = done.stdout.split()
    assert sharing.publication_date(["0" * 40, f"{commit}-dirty"], None) == day
    monkeypatch.setenv(sharing.EPOCH, "86400")
    assert sharing.publication_date([commit], None) == "1970-01-02"
    assert sharing.publication_date([commit], DATE) == DATE


@pytest.mark.parametrize("commit", ["0" * 40, "unknown", "--output=stolen"])
def test_a_date_that_is_not_known_is_asked_for(monkeypatch, commit):
    monkeypatch.delenv(sharing.EPOCH, raising=False)
    with pytest.raises(UserError, match=r"give --date year-month-day, or set SOURCE_DATE_EPOCH"):
        sharing.publication_date([commit], None)


def test_a_date_that_is_none(monkeypatch):
    with pytest.raises(UserError, match="--date: found June, must be year-month-day"):
        sharing.publication_date([], "June")
    monkeypatch.setenv(sharing.EPOCH, "today")
    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH: found today, must be seconds"):
        sharing.publication_date([], None)


# What cannot be packed


def test_a_second_cube_of_a_task(pack, results):
    cube = results / "cubes/mnist.nc"
    with pytest.raises(UserError, match=r"both hold the task 'mnist'; give one cube a task"):
        pack(cubes=[cube, cube])


def test_a_cube_of_a_task_that_the_configuration_does_not_have(pack, config):
    without = json.loads(config)
    del without["tasks"]["cifar10"]
    message = r"cifar10\.nc: a cube of the task 'cifar10', .* its tasks are: mnist, tiny"
    with pytest.raises(UserError, match=message):
        pack(config=json.dumps(without))


def test_what_is_no_cube(pack, results):
    with pytest.raises(UserError, match=r"claims\.csv: truncated, or not a NetCDF file"):
        pack(cubes=[results / "claims.csv"])


@pytest.mark.parametrize("name", ["claims.csv", "README.md"])
def test_two_files_of_one_name(pack, results, tmp_path, name):
    other = tmp_path / "other" / name
    other.parent.mkdir()
    other.write_text("")
    with pytest.raises(UserError, match=f"another file of the name {name}; rename it"):
        pack(files=[results / "claims.csv", other])


@pytest.mark.parametrize(
    ("name", "message"), [("absent.png", "no such file"), ("a\nb.png", "rename it")]
)
def test_a_file_that_cannot_be_packed(pack, tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        pack(files=[tmp_path / name])
    assert not (tmp_path / "packed.zip").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("config.yaml", "--config: must be the JSON of a resolved configuration"),
        ("[]", "--config: must be the JSON"),
        ('{"experiment": "a"}', "KeyError: 'figures'"),
    ],
)
def test_a_configuration_that_is_none(pack, text, message):
    with pytest.raises(UserError, match=message):
        pack(config=text)


def test_an_experiment_that_names_no_folder(pack, config):
    with pytest.raises(UserError, match=r"experiment: found '\.\./up', must name a folder"):
        pack(config=json.dumps(json.loads(config) | {"experiment": "../up"}))


# What cannot be redrawn


def refused(archive, output):
    """Return why an archive is refused; nothing has been written then."""
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(UserError) as caught:
        redraw.redraw(archive, output)
    assert sorted(archive.parent.rglob("*")) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"claims.csv": b"claim,holds\nedge,no\n"}, "claims.csv: damaged, its SHA-256 is not that"),
        ({"cubes/mnist.nc": None}, "cubes/mnist.nc: missing"),
        ({"notes.txt": b""}, "notes.txt: not in manifest-sha256.txt, so not part of the archive"),
    ],
    ids=["changed", "missing", "extra"],
)
def test_a_file_that_is_not_as_it_was_packed_is_named(pack, tmp_path, changes, complaint):
    message = refused(altered(pack(), changes), tmp_path / "redrawn")
    first, *others = message.splitlines()
    assert first.endswith("altered.zip: not as it was packed, get another copy:")
    assert [line.strip()[: len(complaint)] for line in others] == [complaint]


def test_every_damage_is_named_at_once(pack, tmp_path):
    changes = {"claims.csv": b"", "README.md": None, "notes.txt": b""}
    message = refused(altered(pack(), changes), tmp_path / "redrawn")
    assert re.findall(r"^  ([\w.]+):", message, re.MULTILINE) == [
        "notes.txt",
        "README.md",
        "claims.csv",
    ]


def test_a_flipped_byte_is_found_in_a_zip_and_in_a_folder(pack, tmp_path):
    archive = pack()
    damaged = bytearray(archive.read_bytes())
    damaged[damaged.index(b"claim,holds")] ^= 1
    archive.write_bytes(damaged)
    message = refused(archive, tmp_path / "redrawn")
    assert "claims.csv: damaged, it cannot be read (Bad CRC-32" in message
    (tmp_path / "unpacked").mkdir()
    for name, text in contents(pack()).items():
        path = tmp_path / "unpacked" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
    (tmp_path / "unpacked/claims.csv").write_text("claim,holds\nedge,no\n")
    message = refused(tmp_path / "unpacked", tmp_path / "redrawn")
    assert "claims.csv: damaged, its SHA-256" in message


@pytest.mark.parametrize("cut", [0, 10, 2000, -1])
def test_an_archive_that_was_cut_short(pack, tmp_path, cut):
    archive = pack()
    archive.write_bytes(archive.read_bytes()[:cut])
    message = refused(archive, tmp_path / "redrawn")
    assert "packed.zip: not a zip file, or cut short" in message


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "not an archive of an experiment"),
        ([("photo.jpg", "")], "has all its files in one folder; here are photo.jpg"),
        ([("a/x", ""), ("b/y", "")], "has all its files in one folder; here are a, b"),
        ([("a/x", "")], "not an archive of an experiment: it has no manifest-sha256.txt"),
        ([("a/manifest-sha256.txt", "")], "does not name config.yaml, ro-crate-metadata.json"),
        ([("a/manifest-sha256.txt", "x")], "'x' is not a SHA-256, two spaces and the name"),
        ([("a/manifest-sha256.txt", b"\xff")], "its manifest-sha256.txt is damaged"),
        ([("a/manifest-sha256.txt", f"{'0' * 64}  ../x")], "../x' is not a SHA-256, two spaces"),
    ],
)
def test_a_zip_of_something_else(tmp_path, files, complaint):
    archive = zipped(tmp_path / "other.zip", files)
    assert complaint in refused(archive, tmp_path / "redrawn")


@pytest.mark.parametrize(
    "name", ["../x", "/x", "default/../../x", "default//x", "default\\..\\x", "C:x", "default/./x"]
)
def test_a_name_that_leads_out_of_the_archive(pack, tmp_path, name):
    files = [(f"{NAME}/{kept}", text) for kept, text in contents(pack()).items()]
    folder = tmp_path / "in"
    folder.mkdir()
    archive = zipped(folder / "evil.zip", [*files, (name, "evil")])
    message = refused(archive, tmp_path / "redrawn")
    assert "unsafe, nothing was unpacked: names in it lead out of its folder" in message
    assert not (tmp_path / "redrawn").exists()


def test_a_link_in_an_archive(tmp_path):
    link = zipfile.ZipInfo("default/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive = zipped(tmp_path / "evil.zip", [(link, "/etc/passwd")])
    assert "links in it: default/link" in refused(archive, tmp_path / "redrawn")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_in_an_archive(tmp_path):
    archive = zipped(tmp_path / "evil.zip", [("default/x", "a"), ("default/x", "b")])
    assert "two files of one name: default/x" in refused(archive, tmp_path / "redrawn")


def test_an_output_in_the_archive(pack, tmp_path):
    with zipfile.ZipFile(pack()) as file:
        file.extractall(tmp_path)
    message = refused(tmp_path / NAME, tmp_path / NAME / "redrawn")
    assert "lies in the archive" in message


def test_an_archive_that_is_not_there(tmp_path):
    message = refused(tmp_path / "absent.zip", tmp_path / "redrawn")
    assert "absent.zip: no such file or folder" in message


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"config.yaml": b"{}"}, "its config.yaml: must be the JSON of a resolved configuration"),
        ({"config.yaml": b"\xff"}, "its config.yaml: must be the JSON of a resolved configuration"),
        ({"cubes/mnist.nc": b"text"}, "mnist.nc: truncated, or not a NetCDF file"),
        (
            {"cubes/again.nc": "cubes/mnist.nc"},
            "mnist.nc both hold the task 'mnist'; give one cube",
        ),
    ],
)
def test_an_archive_that_somebody_else_has_made(pack, tmp_path, changes, complaint):
    archive = pack()
    files = contents(archive)
    changes = {
        name: files[text] if isinstance(text, str) else text for name, text in changes.items()
    }
    archive = altered(archive, changes, relist=True)
    with pytest.raises(UserError, match=re.escape(complaint)):
        redraw.redraw(archive, tmp_path / "redrawn")
    assert list((tmp_path / "redrawn").rglob("*")) == []


def test_a_cube_of_a_task_that_the_packed_configuration_does_not_have(pack, config, tmp_path):
    without = json.loads(config)
    del without["tasks"]["mnist"]
    changes = {"config.yaml": json.dumps(without).encode()}
    archive = altered(pack(), changes, relist=True)
    with pytest.raises(UserError, match="the configuration has no task mnist, of which is a cube"):
        redraw.redraw(archive, tmp_path / "redrawn")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("figure_4", "; did you mean 'figure_04'?"), ("12", ""), ("density_text", "")],
)
def test_a_figure_that_the_cubes_do_not_permit(pack, tmp_path, name, hint):
    with pytest.raises(UserError, match="not among the figures that the archive's") as caught:
        redraw.redraw(pack(), tmp_path / "redrawn", [name])
    assert hint in str(caught.value)
    assert "figure_11, alignment_" in str(caught.value)
    assert "density_cifar10, edge_map_cifar10" in str(caught.value)


# What can


def test_what_can_be_drawn_is_what_the_cubes_permit(results, config):
    cube = records.read_cube(results / "cubes/mnist.nc")
    settings = json.loads(config)

    def names(cubes):
        return list(redraw.drawings(cubes, settings, "step", load_claims()))

    whole = [f"figure_{number:02d}" for number in range(1, 7)]
    others = ["edge_map_mnist", "claims", "supplement_mnist"]
    whole.append("alignment_mnist_rho0")
    assert names({"mnist": cube}) == [*whole, "density_mnist", *others]
    assert names({"mnist": cube.drop_vars("density_node")}) == [*whole, *others]
    gradient_descent = cube.isel(rho=[0])
    unnumbered = [f"{name}_mnist_rho0" for name in ("zoom", "loss", "alignment")]
    alone = ["figure_01", "figure_02", *unnumbered]
    assert names({"mnist": gradient_descent}) == [*alone, *others]
    assert names({}) == ["figure_01"]


@pytest.mark.parametrize("unpacked", [False, True], ids=["zip", "folder"])
def test_figures_are_redrawn_to_the_byte_without_jax(pack, results, repository, tmp_path, unpacked):
    archive = pack()
    if unpacked:
        with zipfile.ZipFile(archive) as file:
            file.extractall(tmp_path)
        archive = tmp_path / NAME
    output = tmp_path / "redrawn"
    script = repository / "workflow/scripts/redraw.py"
    arguments = ["--archive", archive, "--output", output]
    arguments += ["--figure", "01", "4", "density_mnist", "supplement_mnist"]
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env=os.environ | {"PYTHONPATH": str(repository / "tests/workflow/without_jax")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "byte for byte: 6 files" in done.stdout
    assert "otherwise" not in done.stdout
    assert "by this program: claims.csv, figures/kept_cifar10.png\n" in done.stdout
    drawn = sorted((output / "figures").iterdir())
    assert len(drawn) == 6
    for path in drawn:
        assert path.read_bytes() == (results / "figures" / path.name).read_bytes()
    assert sorted(path.name for path in output.iterdir()) == ["figures", "supplement"]


def test_the_supplement_is_that_of_the_workflow(pack, results, tmp_path):
    redraw.redraw(pack(), tmp_path / "redrawn", ["supplement_mnist"])
    converged = tmp_path / "converged.nc"
    cube = collecting.drop_diverged(records.read_cube(results / "cubes/mnist.nc"))
    records.write(cube, converged)
    plot_supplement.main(["--cube", str(converged), "--output", str(tmp_path / "pages")])
    pages = sorted((tmp_path / "pages").iterdir())
    assert len(pages) == 7
    for page in pages:
        again = tmp_path / "redrawn/supplement/mnist" / page.name
        assert again.read_bytes() == page.read_bytes()


def test_another_axis_is_another_figure_and_says_so(pack, tmp_path):
    done = redraw.redraw(pack(), tmp_path / "redrawn", ["01", "04"], "step")
    assert done.equal == ["figures/figure_01.pdf", "figures/figure_01.png"]
    assert done.other == ["figures/figure_04.pdf", "figures/figure_04.png"]


@pytest.mark.parametrize("there_before", [False, True])
def test_a_figure_of_a_kind_that_nobody_draws_is_left_alone(pack, tmp_path, there_before):
    strange = ["figures/figure_01.svg", "figures/figure_01", "figures/more/figure_01.pdf"]
    archive = altered(pack(), dict.fromkeys(strange, b"drawn by hand"), relist=True)
    output = tmp_path / "redrawn"
    if there_before:
        (output / "figures").mkdir(parents=True)
        (output / "figures/figure_01.svg").write_bytes(b"drawn by hand")
    done = redraw.redraw(archive, output, ["01"])
    assert done.equal == ["figures/figure_01.pdf", "figures/figure_01.png"]
    assert done.other == []
    assert {*strange} <= {*done.left_alone}
