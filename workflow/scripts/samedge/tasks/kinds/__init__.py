"""The kinds of task themselves, a file each."""
