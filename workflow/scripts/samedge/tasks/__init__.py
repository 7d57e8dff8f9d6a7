"""What is trained: a model, a loss, and arrays of data."""
