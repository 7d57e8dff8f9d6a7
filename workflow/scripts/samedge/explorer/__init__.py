"""Every run of an experiment on one HTML page. No JAX."""
