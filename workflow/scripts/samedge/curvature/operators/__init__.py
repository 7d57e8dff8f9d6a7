"""Symmetric operators other than the Hessian of a loss, for whoever measures their spectrum."""
