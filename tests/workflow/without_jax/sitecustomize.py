"""First on a Python's path, this makes the libraries that train impossible to import."""

import sys

FORBIDDEN = ("flax", "haiku", "jax", "jaxlib", "optax", "tensorflow", "tensorflow_datasets")


class NotInstalled:
    """A finder of modules that finds none of these, and lets nobody else look for them."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


sys.meta_path.insert(0, NotInstalled)
