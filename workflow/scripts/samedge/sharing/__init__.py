"""An experiment as one file, and its figures drawn from it. No JAX."""
