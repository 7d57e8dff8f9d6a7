"""What the solver needs and keeps. Free of JAX, so that a configuration is judged without it."""


def least_vectors(eigenvalues: int) -> int:
    """Return the smallest ``max_vectors``: the wanted pairs, two of reserve, and three to grow."""
    return eigenvalues + 5


def kept_vectors(eigenvalues: int) -> int:
    """Return the Ritz vectors at most that a measurement leaves for the next to start from."""
    return max(eigenvalues, 12)
