"""Mermaid flowcharts drawn when the site is built: a picture in the page, in place of a script."""

import html
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

_FENCED = re.compile(r"^```mermaid\nflowchart TB\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Edge = tuple[str, str]
#: A long arrow runs between the boxes: through a gap of each layer that it passes.
Gap = tuple[str, str, int]
LETTER, HEIGHT, MARGIN = 7.3, 28, 14  # width of a letter, height of a box, space between two
BETWEEN = 62  # from one layer to the next, top to top


def draw(markdown: str) -> str:
    """Return a page with its flowcharts as pictures."""
    return _FENCED.sub(lambda match: svg(_edges(match[1])), markdown)


def _edges(text: str) -> list[Edge]:
    """Return the arrows of a flowchart, of which there is nothing else in it."""
    pairs = [line.split("-->") for line in text.splitlines() if line.strip()]
    return [(source.strip(), target.strip()) for source, target in pairs]


def svg(edges: Sequence[Edge]) -> str:
    """Return a picture: each box in the layer below the last that an arrow to it comes from."""
    layers, paths = _layers(edges)
    places, width = _places(layers)
    height = len(layers) * BETWEEN - BETWEEN + HEIGHT
    lines = [f'<path d="{_curve([places[stop] for stop in path])}"/>' for path in paths]
    boxes = [
        f'<g transform="translate({places[name][0]:.0f} {places[name][1]:.0f})">'
        f'<rect x="{-_width(name) / 2:.1f}" width="{_width(name):.1f}" height="{HEIGHT}" rx="4"/>'
        f'<text y="{HEIGHT / 2 + 4:.0f}">{html.escape(name)}</text></g>'
        for layer in layers
        for name in layer
        if isinstance(name, str)
    ]
    described = html.escape("; ".join(" to ".join(edge) for edge in edges), quote=True)
    return "\n".join(
        [
            '<div class="diagram">',
            f'<svg viewBox="-2 -2 {width + 4:.0f} {height + 4:.0f}" width="{width + 4:.0f}"'
            f' role="img" aria-label="{described}">',
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
            ' markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
            f'<g class="arrows">{"".join(lines)}</g>',
            *boxes,
            "</svg>",
            "</div>",
        ]
    )


def _layers(edges: Sequence[Edge]) -> tuple[list[list[str | Gap]], list[list[str | Gap]]]:
    """Return what stands in each layer, in order, and what each arrow passes."""
    above = defaultdict(list)
    for source, target in edges:
        above[target].append(source)
    depth: dict[str, int] = {}

    def depth_of(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max(map(depth_of, above[name]), default=-1)
        return depth[name]

    names = list(dict.fromkeys(name for edge in edges for name in edge))
    layers: list[list[str | Gap]] = [[] for _ in range(1 + max(map(depth_of, names)))]
    for name in names:
        layers[depth[name]].append(name)
    paths = []
    for source, target in edges:
        gaps = [(source, target, layer) for layer in range(depth[source] + 1, depth[target])]
        for gap in gaps:
            layers[gap[2]].append(gap)
        paths.append([source, *gaps, target])
    _untangle(layers, paths)
    return layers, paths


def _untangle(layers: list[list[str | Gap]], paths: Sequence[Sequence[str | Gap]]) -> None:
    """Order each layer by the mean place of its neighbours, down and up a few times."""
    beside = defaultdict(list)
    for path in paths:
        for upper, lower in pairwise(path):
            beside[lower].append(upper)
            beside[upper].append(lower)
    for _ in range(8):
        for number, layer in [*enumerate(layers), *reversed(list(enumerate(layers)))]:
            near = layers[max(0, number - 1)] + layers[min(len(layers) - 1, number + 1)]
            place = {
                name: (at + 0.5) / len(row) - 0.5
                for row in layers
                if row is not layer
                for at, name in enumerate(row)
                if name in near
            }
            means = {}
            for name in layer:
                found = [place[other] for other in beside[name] if other in place]
                means[name] = sum(found) / len(found) if found else 0
            layer.sort(key=means.__getitem__)


def _places(
    layers: Sequence[Sequence[str | Gap]],
) -> tuple[Mapping[str | Gap, tuple[float, float]], float]:
    """Return the middle of the top of everything, and the width of the whole."""
    widths = [sum(_width(name) + MARGIN for name in layer) - MARGIN for layer in layers]
    whole = max(widths)
    places = {}
    for number, layer in enumerate(layers):
        left = (whole - widths[number]) / 2
        for name in layer:
            places[name] = (left + _width(name) / 2, number * BETWEEN)
            left += _width(name) + MARGIN
    return places, whole


def _width(name: str | Gap) -> float:
    """Return how wide a box is, or a gap between two."""
    return len(name) * LETTER + 16 if isinstance(name, str) else 4


def _curve(stops: Sequence[tuple[float, float]]) -> str:
    """Return a smooth line through what an arrow passes, from below the first to the last."""
    x, y = stops[0][0], stops[0][1] + HEIGHT
    parts = [f"M{x:.0f} {y:.0f}"]
    for number, (to_x, to_y) in enumerate(stops[1:], start=2):
        bend = (y + to_y) / 2
        parts.append(f"C{x:.0f} {bend:.0f} {to_x:.0f} {bend:.0f} {to_x:.0f} {to_y:.0f}")
        x, y = to_x, to_y
        if number < len(stops):
            y += HEIGHT
            parts.append(f"V{y:.0f}")
    return "".join(parts)
