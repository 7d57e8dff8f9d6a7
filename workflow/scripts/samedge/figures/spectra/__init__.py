"""Figures of Hessian spectra: the density of the whole, the sharpness of blocks."""
