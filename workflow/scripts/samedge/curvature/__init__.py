"""The curvature of a loss: eigenpairs, density, Hessian-vector products. Knows no other room."""
