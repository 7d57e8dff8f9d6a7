"""The gallery: its page from archives and results, and the pictures that are kept."""

import re

import numpy as np
import pytest
from PIL import Image

import synthetic
from samedge.base.errors import UserError
from samedge.config.paper_figures import FIGURES
from samedge.records import files

MOST_BYTES = 90_000


@pytest.fixture
def gallery(tool, tmp_path, monkeypatch):
    """The program, which leaves its pictures in a folder of the test."""
    module = tool("write_gallery")
    monkeypatch.setattr(module, "PICTURES", tmp_path / "pictures")
    (tmp_path / "pictures").mkdir()
    return module


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


def test_a_page_is_made_of_several_experiments(gallery, tmp_path):
    entries = gallery.entries()
    assert [entry.target for entry in entries[:16]] == [spec.name for spec in FIGURES.values()]
    beyond = {entry.target: entry for entry in entries[16:]}
    assert {"edge_map_mnist", "edge_map_cifar10", "edge_map_tiny_shakespeare"} < set(beyond)
    kept = beyond["family_mnist_sam"]
    drawn = [entry.file for entry in entries if entry not in (kept, beyond["explorer"])]
    make_results(tmp_path / "default", drawn[:17])
    make_results(tmp_path / "gallery", drawn[16:])
    sources = [gallery.from_results(tmp_path / name) for name in ("default", "gallery")]
    with pytest.raises(UserError, match=r"explorer: no source has explorer\.html"):
        gallery.page(sources)
    (tmp_path / "default" / "explorer.html").write_text("")
    gallery._screenshot = lambda path: None  # as where there is no browser
    page = gallery.page(sources)
    for entry in entries:
        picture = kept.kept if entry is kept else f"images/gallery/{entry.target}.png"
        assert f"({picture})" in page
    assert "\nsnakemake figure_02 --cores all --resources gpu=1\n" in page
    # A figure is that of the first source that has it.
    default, other = "--cores all --resources gpu=1\n", "--configfile config/gallery.yaml\n"
    assert f"\nsnakemake {entries[16].target} {default}" in page
    assert f"\nsnakemake {entries[17].target} --cores all --resources gpu=1 {other}" in page
    assert kept.kept_from in page


def test_pictures_are_small_whatever_is_in_them(gallery):
    noise = np.random.default_rng(0).integers(256, size=(480, 640, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="stays above 90,000 bytes"):
        gallery.reduced(Image.fromarray(noise))
    lines = Image.new("RGB", (2000, 1000), "white")
    lines.paste("black", (100, 500, 1900, 504))
    assert len(gallery.reduced(lines)) <= MOST_BYTES


def test_the_pictures_kept_are_small_and_those_of_the_page(gallery, repository):
    page = (repository / "docs" / "gallery.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"\(images/gallery/(\w+\.png)\)", page))
    kept = {path.name: path for path in (repository / "docs/images/gallery").iterdir()}
    assert shown == set(kept)
    assert max(path.stat().st_size for path in kept.values()) <= MOST_BYTES
    targets = {entry.target for entry in gallery.entries()}
    assert targets == set(re.findall(r"by the target\* `(\w+)`", page))
