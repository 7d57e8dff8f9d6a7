"""The gallery: its page from the results of experiments, and the pictures that are kept."""

import importlib.util
import re
import sys
import tomllib

import numpy as np
import pytest
from PIL import Image

import synthetic
from samedge.base.errors import UserError
from samedge.config.paper_figures import FIGURES
from samedge.records import files

MOST_BYTES = 60_000


@pytest.fixture
def gallery(repository, tmp_path, monkeypatch):
    """The program, which leaves its pictures in a folder of the test."""
    path = repository / "tools" / "write_gallery.py"
    spec = importlib.util.spec_from_file_location("write_gallery", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "write_gallery", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PICTURES", tmp_path / "pictures")
    (tmp_path / "pictures").mkdir()
    return module


def beyond(repository):
    """Return what the gallery says of figures beyond the paper's."""
    return tomllib.loads((repository / "tools/gallery.toml").read_text(encoding="utf-8"))["beyond"]


def make_results(folder, names):
    """Write a folder of results: one cube, and the figures of these names."""
    (folder / "cubes").mkdir(parents=True)
    files.write(synthetic.run(synthetic.run_settings()), folder / "cubes" / "mnist.nc")
    for name in names:
        path = folder / name
        if not path.suffix:  # the supplement is a folder of pages
            path = path / "eta0.1_rho0_seed0.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (1300, 700), "white").save(path)


def test_a_page_is_made_of_several_experiments(gallery, repository, tmp_path):
    drawn = [entry["file"] for entry in beyond(repository) if entry["target"] != "explorer"]
    papers = [f"figures/{spec.name}.png" for spec in FIGURES.values()]
    kept = next(entry for entry in beyond(repository) if "kept" in entry)
    drawn.remove(kept["file"])
    make_results(tmp_path / "default", [*papers, drawn[0]])
    make_results(tmp_path / "gallery", drawn)
    folders = [tmp_path / "default", tmp_path / "gallery"]
    with pytest.raises(UserError, match=r"explorer: none of the folders has explorer\.html"):
        gallery.page(folders)
    (tmp_path / "default" / "explorer.html").write_text("")
    gallery._screenshot = lambda path: None  # as where there is no browser
    page = gallery.page(folders)
    assert "snakemake --cores all --resources gpu=1`" in page
    assert "--configfile config/gallery.yaml" in page
    for spec in FIGURES.values():
        assert f"(images/gallery/{spec.name}.png)" in page
    # A figure is that of the first folder that has it.
    assert f"`{beyond(repository)[0]['target']}`*; here of* `default`" in page
    assert f"`{beyond(repository)[2]['target']}`*; here of* `gallery`" in page
    assert f"({kept['kept']})" in page and kept["kept_from"] in page


def test_pictures_are_small_whatever_is_in_them(gallery):
    noise = np.random.default_rng(0).integers(256, size=(480, 640, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="stays above 60,000 bytes"):
        gallery.reduced(Image.fromarray(noise))
    lines = Image.new("RGB", (2000, 1000), "white")
    lines.paste("black", (100, 500, 1900, 504))
    assert len(gallery.reduced(lines)) <= MOST_BYTES


def test_the_pictures_kept_are_small_and_those_of_the_page(repository):
    page = (repository / "docs" / "gallery.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\(images/gallery/(\w+\.png)\)", page))
    kept = {path.name: path for path in (repository / "docs/images/gallery").iterdir()}
    assert shown == set(kept)
    assert max(path.stat().st_size for path in kept.values()) <= MOST_BYTES
    targets = {spec.name for spec in FIGURES.values()}
    targets |= {entry["target"] for entry in beyond(repository)}
    assert targets == set(re.findall(r"by the target\* `(\w+)`", page))
