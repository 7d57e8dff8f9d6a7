"""Write docs/gallery.md and its pictures from published archives and results of experiments.

    python tools/write_gallery.py docs/findings/length.zip results/default results/gallery

Each figure is taken from the first of them that has it, and the page says which that is, and how
to draw it; what it says besides is in gallery.toml. From an archive figures are drawn anew.
Pictures are made small enough to be kept, 90 kB at the most, in docs/images/gallery. The explorer
is shown as Chromium draws it, where there is one; else its picture stays as it was.
"""

import argparse
import io
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow" / "scripts"))

from samedge.base.errors import UserError, run_script
from samedge.config.paper_figures import FIGURES, FigureSpec
from samedge.records.describe import data_note
from samedge.records.files import read_cube, settings_of
from samedge.sharing.archive import verified
from samedge.sharing.redraw import permitted, redraw

REPOSITORY = Path(__file__).resolve().parents[1]
TEXTS = REPOSITORY / "tools" / "gallery.toml"
PAGE = REPOSITORY / "docs" / "gallery.md"
PICTURES = REPOSITORY / "docs" / "images" / "gallery"
MOST_BYTES = 90_000
WIDTHS = (1100, 1000, 900, 800, 700, 600)  # of pictures, tried in turn
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

INTRODUCTION = """\
<!-- Written by tools/write_gallery.py from the results of experiments; edit that. -->
# Gallery

Every figure that the project draws, with what to see in it, the data that it is drawn from and the
command that draws it alone. `samedge redraw` draws from an archive that is published here, in
seconds, without training; `snakemake` makes what a target needs. The pictures here are reduced;
both write each as PDF and as PNG.
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
    experiment, for where no source has the figure.
    """

    title: str
    target: str
    see: str
    data: str
    file: str
    kept: str = ""
    kept_from: str = ""

    @property
    def name(self) -> str:
        """Return its name among those that a redraw draws."""
        return Path(self.file).stem


@dataclass(frozen=True)
class Source:
    """An experiment that pictures are taken from: its name, its files, notes on its data.

    ``command`` draws one figure alone.
    """

    name: str
    folder: Path
    notes: Sequence[str]
    command: Callable[[Entry], str]


def main() -> None:
    """Write pictures and page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sources", nargs="+", type=Path, help="archives (.zip), results folders of experiments"
    )
    given = parser.parse_args().sources
    PICTURES.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        sources = [
            from_archive(path, Path(stack.enter_context(TemporaryDirectory())), entries())
            if path.suffix == ".zip"
            else from_results(path)
            for path in given
        ]
        PAGE.write_text(page(sources), encoding="utf-8")
    total = sum(path.stat().st_size for path in PICTURES.glob("*.png"))
    print(f"{PAGE}, {total / 1e6:.2f} MB of pictures in {PICTURES}")


def entries() -> list[Entry]:
    """Return every figure of the page, in its order: the paper's, then those beyond it."""
    texts = tomllib.loads(TEXTS.read_text(encoding="utf-8"))
    found = [_paper_entry(spec, texts["paper"]) for spec in FIGURES.values()]
    for fields in texts["beyond"]:
        tasks = fields.pop("tasks", [""])
        found += [
            Entry(**{key: text.replace("<task>", task) for key, text in fields.items()})
            if task
            else Entry(**fields)
            for task in tasks
        ]
    return found


def from_results(folder: Path) -> Source:
    """Return the results folder of an experiment of the repository as a source."""
    cubes = sorted(folder.glob("cubes/*.nc"))
    whole = [path for path in cubes if not path.name.endswith(".converged.nc")]
    if not whole:
        raise UserError(f"{folder}: holds no cubes; give the results folder of an experiment")
    overlay = REPOSITORY / "config" / f"{folder.name}.yaml"
    options = "--cores all --resources gpu=1"
    if overlay.exists():
        options += f" --configfile config/{overlay.name}"
    return Source(
        folder.name, folder, _notes(whole), lambda entry: f"snakemake {entry.target} {options}"
    )


def from_archive(path: Path, output: Path, wanted: Sequence[Entry]) -> Source:
    """Return an archive as a source: what is wanted and can be is drawn in ``output``."""
    with verified(path) as archive:
        name = archive.config()["experiment"]
        cubes = [archive.extract(cube, output) for cube in archive.cubes()]
    possible = set(permitted(path))
    pictures = [entry for entry in wanted if Path(entry.file).suffix == ".png"]
    redraw(path, output, [entry.name for entry in pictures if entry.name in possible])
    shown = path.resolve()
    if shown.is_relative_to(REPOSITORY):
        shown = shown.relative_to(REPOSITORY)
    return Source(
        name,
        output,
        _notes(cubes),
        lambda entry: f"samedge redraw {shown} --output redrawn --figure {entry.name}",
    )


def _notes(cubes: Sequence[Path]) -> list[str]:
    """Return what is said of the data of each cube, by its task."""
    read = [read_cube(path) for path in cubes]
    return [f"{settings_of(cube)['task']}: {data_note(cube).rstrip('.')}" for cube in read]


def page(sources: Sequence[Source]) -> str:
    """Return the page, its pictures written."""
    parts = [INTRODUCTION, *_experiments(sources), PAPER]
    for place, entry in enumerate(entries()):
        if place == len(FIGURES):
            parts.append(BEYOND)
        parts += _section(entry, sources)
    return "\n".join(parts)


def _experiments(sources: Sequence[Source]) -> Iterator[str]:
    """Yield a table of the experiments that pictures come from, and of their data."""
    yield "| experiment | data |\n|---|---|"
    for source in sources:
        yield f"| `{source.name}` | {'; '.join(source.notes)} |"
    yield ""


def _paper_entry(spec: FigureSpec, see: Mapping[str, str]) -> Entry:
    """Return what the page says of a figure of the paper."""
    kind = "eigenvalues_gd" if spec.kind == "eigenvalues" and not spec.is_sam else spec.kind
    data = f"the cube of {spec.task}" if spec.task else "a formula, no runs"
    title = f"Figure {spec.number}" + (f", {spec.task}" if spec.task else "")
    return Entry(title, spec.name, see[kind], data, f"figures/{spec.name}.png")


def _section(entry: Entry, sources: Sequence[Source]) -> Iterator[str]:
    """Yield the lines on one figure."""
    source = next((one for one in sources if (one.folder / entry.file).exists()), None)
    if source is None and not entry.kept:
        raise UserError(f"{entry.target}: no source has {entry.file}")
    yield f"### {entry.title}\n"
    picture = entry.kept if source is None else f"images/gallery/{entry.target}.png"
    yield f"![{entry.title}: {entry.target}]({picture})\n"
    yield f"{entry.see}\n"
    drawn = f"*Drawn from {entry.data}, by the target* `{entry.target}`*; here of* "
    if source is None:
        yield f"{drawn}{entry.kept_from}.\n"
        return
    _write_picture(source.folder / entry.file, PICTURES / f"{entry.target}.png")
    yield f"{drawn}`{source.name}`:\n"
    yield f"```\n{source.command(entry)}\n```\n"


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
    image = image.convert("RGB").crop(
        (0, 0, image.width, min(image.height, image.width * 17 // 10))
    )
    for width in WIDTHS:
        if width >= image.width and width != WIDTHS[-1]:
            continue
        size = (min(width, image.width), round(image.height * min(1, width / image.width)))
        small = image.resize(size, Image.Resampling.LANCZOS)
        for colours in (96, 48):
            buffer = io.BytesIO()
            # By this method thin lines keep colours that the legend has too.
            few = small.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            few.save(buffer, "PNG", optimize=True)
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
