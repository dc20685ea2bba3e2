"""Relaxation and integrators driven by the ASE calculator."""
