"""The losses themselves, a file each."""
