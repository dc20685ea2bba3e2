"""Structures, models, parents and small runs that several tests use."""
