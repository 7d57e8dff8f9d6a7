"""What the solver needs at least. Free of JAX, so that a configuration is judged without it."""


def least_vectors(eigenvalues: int) -> int:
    """Return the smallest ``max_vectors``: the wanted pairs, two of reserve, and three to grow."""
    return eigenvalues + 5
