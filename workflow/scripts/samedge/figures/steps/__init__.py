"""Figures of what steps do: minibatches at the edge, the way to the SAM point."""
