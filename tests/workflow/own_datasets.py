"""A user's own data sets: a file beside the others in the copies of the checkout that tests run.

They are generated, so that the workflow runs from data to figures without a network, and they
enter as any data set of a user does: a function in the registry and its name in the configuration.
"""

import numpy as np

from samedge.data.prepare import DATASETS, Examples, Request, images, text_by_lines

CLASSES = 10


def _patterns(request: Request, side: int, channels: int) -> Examples:
    """Return images of ten classes: a pattern each, and noise."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(40, 200, (CLASSES, side, side, channels))
    arrays = {}
    for split, count in (("train", request.train_examples), ("test", request.test_examples)):
        labels = np.arange(count, dtype=np.uint8) % CLASSES
        noise = generator.integers(-30, 30, (count, side, side, channels))
        arrays |= {
            f"{split}_inputs": (patterns[labels] + noise).astype(np.uint8),
            f"{split}_labels": labels,
        }
    return images(
        arrays, description="ten patterns with noise", origin="a random generator", stand_in=True
    )


@DATASETS.register("own_digits")
def own_digits(request: Request) -> Examples:
    """Grey images."""
    return _patterns(request, side=6, channels=1)


@DATASETS.register("own_photographs")
def own_photographs(request: Request) -> Examples:
    """Colour images."""
    return _patterns(request, side=8, channels=3)


@DATASETS.register("own_text")
def own_text(request: Request) -> Examples:
    """A text of few words."""
    words = np.random.default_rng(0).choice(["edge", "of", "stability", "sharp"], (500, 6))
    return text_by_lines(
        "".join(f"{' '.join(line)}\n" for line in words).encode("ascii"),
        description="four words in random order",
        origin="a random generator",
        stand_in=True,
        test_lines=50,
    )
