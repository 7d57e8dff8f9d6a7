"""Render plays written in Markdown in the form of tiny_shakespeare.

The Markdown marks speakers in bold, stage directions in italics, acts and scenes as headings::

    **First Citizen**
    Speak, speak. _Exit_

becomes::

    First Citizen:
    Speak, speak.

with an empty line after each speech. A stage direction within a speech leaves no trace.
"""

import re
import unicodedata
from collections.abc import Iterable

_HEADING = re.compile(r"^#.*$", re.MULTILINE)
_SPEAKER = re.compile(r"^\*\*(.+?)\*\*\s*$")
# Italics may run over the lines of one paragraph. Some directions in brackets are not closed.
_ITALICS = re.compile(r"_+[^_\n]*(?:\n[^_\n]+)*_+|(?<!\*)\*[^*\n]+(?:\n[^*\n]+)*\*(?!\*)")
_BRACKETS = re.compile(r"\\?\[[^\]_\n]*[\]_]+")
_ESCAPE = re.compile(r"\\(?=[^\w\s])")

# Typographic characters, spelled as the public-domain text spells them.
TRANSLITERATION = str.maketrans(
    {
        "\u2018": "'",
        "\u2019": "'",
        "\u201c": '"',
        "\u201d": '"',
        "\u2013": "-",
        "\u2014": "--",
        "\u2026": "...",
        "\u00a0": " ",
        "\u00c6": "AE",
        "\u00e6": "ae",
        "\u0152": "OE",
        "\u0153": "oe",
    }
)


def plain(text: str) -> str:
    """Replace typographic characters and accented letters by ASCII; what has none is kept."""
    decomposed = unicodedata.normalize("NFD", text.translate(TRANSLITERATION))
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def render_play(markdown: str) -> str:
    """Return a play as speeches, ``SPEAKER:``, the spoken lines, and an empty line each."""
    text = _BRACKETS.sub("", _ITALICS.sub("", _HEADING.sub("", markdown)))
    speeches: list[list[str]] = []
    for line in plain(_ESCAPE.sub("", text)).splitlines():
        spoken = line.strip()
        speaker = _SPEAKER.match(spoken)
        if speaker:
            speeches.append([f"{speaker.group(1).strip()}:"])
        elif spoken and speeches:
            speeches[-1].append(spoken)
    # A speaker whom only stage directions follow says nothing.
    return "".join("\n".join(speech) + "\n\n" for speech in speeches if len(speech) > 1)


def render_plays(plays: Iterable[str]) -> str:
    """Return plays one after the other, ending in a single line feed."""
    return "".join(render_play(play) for play in plays).rstrip("\n") + "\n"
