"""Choosing images and features: arrays in, indices in order of selection out.

Every selection takes one item after another by the highest score; the ways differ by their
scores only. The first k items of a longer selection are therefore the selection of k items.
"""

from __future__ import annotations

from nearsight.selection.cur import cur
from nearsight.selection.deviation import relative_norm_deviation
from nearsight.selection.farthest_point import farthest_point_sampling, image_descriptor
from nearsight.selection.force_correlation import force_correlation

__all__ = [
    "cur",
    "farthest_point_sampling",
    "force_correlation",
    "image_descriptor",
    "relative_norm_deviation",
]
