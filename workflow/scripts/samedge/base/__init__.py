"""What every room uses: errors, files, messages, registries. No JAX."""
