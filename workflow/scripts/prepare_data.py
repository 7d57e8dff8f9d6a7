"""Write the checksummed data file of one task, from sample data or from TensorFlow Datasets."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # where Python may be told not to look

from samedge.base.components import add_plugins_option, use_plugins
from samedge.base.errors import Parser, run_script
from samedge.base.log import say
from samedge.data.file import write_data
from samedge.data.prepare import SOURCES, Request, prepare


def count(text: str) -> int | None:
    """Read a number of examples; "all" means None."""
    return None if text == "all" else int(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare one data set."""
    parser = Parser(__doc__)
    parser.add_argument("--dataset", required=True, help="name in the registry of data sets")
    parser.add_argument("--source", required=True, choices=SOURCES)
    for split in ("train", "test"):
        parser.add_argument(
            f"--{split}-examples",
            required=True,
            type=count,
            metavar="N",
            help="images, or characters of text; 'all' for all",
        )
    parser.add_argument("--file", type=Path, nargs="?", help="the .npz file of the data set arrays")
    parser.add_argument("--archive", type=Path, help="the archive that serves the sample data")
    parser.add_argument("--output", required=True, type=Path, help="the data file to write")
    add_plugins_option(parser)
    options = parser.parse_args(arguments)
    use_plugins(options.plugins)
    arrays, attributes = prepare(
        Request(
            name=options.dataset,
            source=options.source,
            train_examples=options.train_examples,
            test_examples=options.test_examples,
            archive=options.archive,
            file=options.file,
        )
    )
    checksum = write_data(options.output, arrays, attributes)
    say(f"{options.output}: {attributes['description']}")
    for name, array in arrays.items():
        say(f"  {name}: {array.dtype} {array.shape}")
    say(f"  SHA-256 {checksum}")


if __name__ == "__main__":
    run_script(main)
