"""What the solver and the density are made of: bases, quadrature, and what they prove."""
