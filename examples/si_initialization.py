#!/usr/bin/env python3
"""SI 8.1, "Initialization": the initial bulk cells.

Step 1 of 4; si_image_selection.py reads what it writes.

The parameters are those of the SI. What differs: the cells go to an extended XYZ file, and every
calculation of the parent is kept in a database, so that running this again costs nothing. For
another parent give any ASE calculator by name, e.g. ``Parent("gpaw:GPAW", {...}, "parent.db")``.
"""

from nearsight import Initialization, Parent
from nearsight.structures.images import write_images

parent = Parent("emt", database="parent.db")
cells = Initialization(
    elements=("Pt",),
    a0=4.0,  # Å
    space_groups=(225, 79),
    minsep=2.65,  # Å
    posamp=0.03,  # Å
).run(parent)
write_images("initial.extxyz", cells)
print(f"initial.extxyz: {len(cells)} cells, {parent.calculations} calculations")
