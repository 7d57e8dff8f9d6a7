"""The archive of an experiment, and its figures drawn again from it without JAX."""

from checkout import WITHOUT_JAX, Checkout


def test_an_archive_gives_every_figure_again(changeable: Checkout, tmp_path):
    # The date of publication is otherwise that of the commit, and this is no git checkout.
    done = changeable.snakemake(
        *("--resources", "gpu=1", "--cores", "all", "archive"), SOURCE_DATE_EPOCH="86400"
    )
    assert done.returncode == 0, done.stdout
    redrawn = changeable.script(
        *("redraw", "--archive", changeable.result("tiny.zip"), "--output", tmp_path / "redrawn"),
        **WITHOUT_JAX,
    )
    assert redrawn.returncode == 0, redrawn.stdout
    for folder in ("figures", "supplement"):
        files = [path for path in (tmp_path / "redrawn" / folder).rglob("*") if path.is_file()]
        assert files
        for path in files:
            name = path.relative_to(tmp_path / "redrawn").as_posix()
            assert path.read_bytes() == changeable.result(name).read_bytes(), name
    drawn = {path.name for path in changeable.result("figures").iterdir()}
    assert {path.name for path in (tmp_path / "redrawn/figures").iterdir()} == drawn
