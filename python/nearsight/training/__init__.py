"""Fit of the members of an ensemble to labelled images."""
