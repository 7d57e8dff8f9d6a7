"""The configuration of an experiment: its schema, its settings, its grid. No JAX."""
