"""Write docs/gallery.md and its pictures from the results of some experiments.

    python tools/write_gallery.py results/default results/gallery

Each figure is taken from the first of the folders that has it, and the page says which that is;
what it says besides is in gallery.toml. Pictures are made small enough to be kept, 60 kB at the
most, in docs/images/gallery. The explorer is shown as Chromium draws it, where there is one; else
its picture stays as it was.
"""

import argparse
import io
import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.base.errors import UserError, run_script
from samedge.config.paper_figures import FIGURES, FigureSpec
from samedge.records.describe import data_note
from samedge.records.files import read_cube, settings_of

REPOSITORY = Path(__file__).resolve().parents[1]
TEXTS = REPOSITORY / "tools" / "gallery.toml"
PAGE = REPOSITORY / "docs" / "gallery.md"
PICTURES = REPOSITORY / "docs" / "images" / "gallery"
MOST_BYTES = 60_000
WIDTHS = (1100, 1000, 900, 800, 700, 600)  # of pictures, tried in turn
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

INTRODUCTION = """\
<!-- Written by tools/write_gallery.py from the results of experiments; edit that. -->
# Gallery

Every figure that the project draws, with what to see in it, the data that it is drawn from and the
target that draws it. A target is given to Snakemake as `snakemake <target> --cores all`, with the
`--configfile` of its experiment, and makes what it needs. The pictures here are reduced; the
workflow writes each as PDF and as PNG.
"""
PAPER = """\
## The paper's sixteen figures

What the paper shows of three tasks: gradient descent, SAM, the same scaled on the SAM edge, losses,
and alignments.
"""
BEYOND = """\
## Beyond the paper
"""


@dataclass(frozen=True)
class Entry:
    """A figure of the page: its title and target, what to see, where it is drawn from and lies.

    ``kept`` is a picture that stands in docs/images for another page, and ``kept_from`` its
    experiment, for where none of the folders has the figure.
    """

    title: str
    target: str
    see: str
    data: str
    file: str
    kept: str = ""
    kept_from: str = ""


def main() -> None:
    """Write pictures and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="results folders of experiments")
    folders = parser.parse_args().results
    PICTURES.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(folders), encoding="utf-8")
    total = sum(path.stat().st_size for path in PICTURES.glob("*.png"))
    print(f"{PAGE}, {total / 1e6:.2f} MB of pictures in {PICTURES}")


def page(folders: Sequence[Path]) -> str:
    """Return the page, its pictures written."""
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    parts = [INTRODUCTION, _experiments(folders), PAPER]
    for spec in FIGURES.values():
        parts += _section(_paper_entry(spec, texts["paper"]), folders)
    parts.append(BEYOND)
    for entry in texts["beyond"]:
        parts += _section(Entry(**entry), folders)
    return "\n".join(parts)


def _experiments(folders: Sequence[Path]) -> str:
    """Return a table of the experiments that pictures come from, and of their data."""
    lines = ["| experiment | command | data |", "|---|---|---|"]
    for folder in folders:
        notes = [
            f"{settings_of(cube)['task']}: {data_note(cube).rstrip('.')}"
            for cube in map(read_cube, _cubes(folder))
        ]
        lines.append(f"| `{folder.name}` | `{_command(folder)}` | {'; '.join(notes)} |")
    return "\n".join([*lines, ""])


def _cubes(folder: Path) -> list[Path]:
    """Return the cubes of an experiment, those with all runs."""
    found = sorted(folder.glob("cubes/*.nc"))
    whole = [path for path in found if not path.name.endswith(".converged.nc")]
    if not whole:
        raise UserError(f"{folder}: holds no cubes; give the results folder of an experiment")
    return whole


def _command(folder: Path) -> str:
    """Return the command that makes an experiment, one of the configurations of the repository."""
    options = "--cores all --resources gpu=1"
    overlay = REPOSITORY / "config" / f"{folder.name}.yaml"
    if overlay.exists():
        options += f" --configfile config/{overlay.name}"
    return f"snakemake {options}"


def _paper_entry(spec: FigureSpec, see: Mapping[str, str]) -> Entry:
    """Return what the page says of a figure of the paper."""
    kind = "eigenvalues_gd" if spec.kind == "eigenvalues" and not spec.is_sam else spec.kind
    data = f"the cube of {spec.task}" if spec.task else "a formula, no runs"
    title = f"Figure {spec.number}" + (f", {spec.task}" if spec.task else "")
    return Entry(title, spec.name, see[kind], data, f"figures/{spec.name}.png")


def _section(entry: Entry, folders: Sequence[Path]) -> Iterator[str]:
    """Yield the lines on one figure: where there is no picture of it, there are none."""
    folder = next((folder for folder in folders if (folder / entry.file).exists()), None)
    if folder is None and not entry.kept:
        raise UserError(f"{entry.target}: none of the folders has {entry.file}")
    picture, source = entry.kept, entry.kept_from
    if folder is not None:
        picture, source = f"images/gallery/{entry.target}.png", f"`{folder.name}`"
        _write_picture(folder / entry.file, PICTURES / f"{entry.target}.png")
    yield f"### {entry.title}\n"
    yield f"![{entry.title}: {entry.target}]({picture})\n"
    yield f"{entry.see}\n"
    yield f"*Drawn from {entry.data}, by the target* `{entry.target}`*; here of* {source}.\n"


def _write_picture(source: Path, target: Path) -> None:
    """Write a picture: a file's own, one page of a folder, or what a browser draws of a page."""
    if source.is_dir():
        # Of SAM, where there is one, and of the largest η.
        source = max(source.glob("*.png"), key=lambda path: ("_rho0_" not in path.name, path.name))
    if source.suffix == ".html":
        content = _screenshot(source)
        if content is None:
            print(f"{target.name}: no Chromium, left as it was", file=sys.stderr)
            return
        image = Image.open(io.BytesIO(content))
    else:
        image = Image.open(source)
    target.write_bytes(reduced(image))


def reduced(image: Image.Image) -> bytes:
    """Return a picture as a PNG of few colours, as wide as it may be to keep to the limit.

    Of a tall one the beginning is left, which can be read then.
    """
    image = image.convert("RGB").crop((0, 0, image.width, min(image.height, image.width * 6 // 5)))
    for width in WIDTHS:
        if width >= image.width and width != WIDTHS[-1]:
            continue
        size = (min(width, image.width), round(image.height * min(1, width / image.width)))
        small = image.resize(size, Image.Resampling.LANCZOS)
        for colours in (96, 48, 24):
            buffer = io.BytesIO()
            small.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
            if buffer.tell() <= MOST_BYTES:
                return buffer.getvalue()
    raise UserError(f"a picture of {image.width} × {image.height} stays above {MOST_BYTES:,} bytes")


def _screenshot(path: Path) -> bytes | None:
    """Return what Chromium draws of a page, None where there is no Chromium."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        page.goto(path.resolve().as_uri())
        page.wait_for_selector("#plot-eigenvalues .main-svg")
        content = page.screenshot()
        chromium.close()
    return content


if __name__ == "__main__":
    run_script(main)
