"""Run files and cubes: their schema, and how they are written, read and merged. No JAX."""
