"""Potentials in the files of other programs, in and out."""
