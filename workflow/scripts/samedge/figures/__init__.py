"""Pictures of cubes. No JAX."""
