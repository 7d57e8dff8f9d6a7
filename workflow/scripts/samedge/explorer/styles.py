"""The looks of the figures in the words of plotly.js."""

from collections.abc import Mapping

from samedge.figures import panels

#: Matplotlib's dashes and markers in the words of plotly.js.
DASHES = {
    "-": "solid",
    panels.SAM_EDGE["linestyle"]: "6px,6px",
    panels.GD_EDGE["linestyle"]: "0px,6px,6px,0px",  # begins with a gap: the other's dashes
    panels.EFFECTIVE["linestyle"]: "9px,2px,2px,2px",
    panels.SECOND["linestyle"]: "9px,3px",
    panels.MINIBATCHES["mean_batch_quotient"][1]["linestyle"]: "2px,2px",
}
MARKERS = {"o": "circle", "s": "square", "^": "triangle-up"}


def styles() -> dict:
    """Return the colours, dashes and markers of the figures, for plotly.js."""
    ranks = ({"color": c, "linestyle": dash, "marker": m} for c, dash, m in panels.RANK_STYLES)
    return {
        "ranks": [_style(rank) for rank in ranks],
        "sam_edge": _style(panels.SAM_EDGE),
        "gd_edge": _style(panels.GD_EDGE),
        "effective": _style(panels.EFFECTIVE),
        "training_loss": _style(panels.FIRST),
        "minibatches": {
            name: _style({"linestyle": "-", **style}) | {"label": plain(words)}
            for name, (words, style) in panels.MINIBATCHES.items()
        },
        **{name: _style(style) for name, _, style in (*panels.ALIGNMENTS, *panels.BOUNDS)},
    }


def plain(words: str) -> str:
    """Return what a figure's legend says without TeX."""
    return words.replace(r"$\lambda_1$", "λ₁")


def _style(style: Mapping) -> dict:
    return {
        "color": style["color"],
        "dash": DASHES[style["linestyle"]],
        "marker": MARKERS.get(style.get("marker", "")),
    }
