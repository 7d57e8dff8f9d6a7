"""What cubes say: statistics, the claims of the paper, experiments compared. No JAX."""
