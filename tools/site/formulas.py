"""TeX, between dollars as in GitHub's Markdown, to MathML, which browsers draw by themselves."""

import html
import re

from latex2mathml.converter import convert

# What pymdownx.arithmatex leaves, with its option "generic".
_FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)

#: Letters of TeX beyond which a formula in a line may be wider than a phone.
LONG = 40


class FormulaError(Exception):
    """A formula that cannot be converted, or only in part."""


def to_mathml(page: str) -> str:
    """Return a page's HTML with every formula as MathML.

    Raises
    ------
    FormulaError
        If the converter fails, or has left a command as it was.
    """
    return _FORMULA.sub(_converted, page)


def _converted(match: re.Match[str]) -> str:
    """Return one formula as MathML; what is displayed may scroll by itself."""
    tex = html.unescape(match["tex"])
    display = "block" if match["tag"] == "div" else "inline"
    try:
        mathml = convert(tex, display=display)
    except Exception as error:  # whatever the converter raises is about this formula
        raise FormulaError(f"formula {tex!r}: {error!r}") from error
    # A command that it does not know becomes a name, and columns that it does not an ampersand.
    left = re.search(r"<m\w+[^>]*>(?:[^<]*\\[A-Za-z]|&<)", mathml)
    if left or "<merror" in mathml:
        raise FormulaError(f"formula {tex!r}: not converted as a whole")
    # The bars of a norm have a letter's height, but for those after \left and \right.
    mathml = mathml.replace("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>')
    spoken = html.escape(" ".join(tex.split()), quote=True)
    mathml = mathml.replace("<math ", f'<math alttext="{spoken}" ', 1)
    if display == "block":
        return f'<div class="formula">{mathml}</div>'
    return f'<span class="long-formula">{mathml}</span>' if len(tex) > LONG else mathml
