"""What the solver needs at least. Free of JAX, so that a configuration is judged without it."""


def least_vectors(eigenvalues: int) -> int:
    """Return the smallest ``max_vectors``: twice the wanted pairs and ends, and 16 to explore."""
    return 2 * eigenvalues + 2 + 16
