#!/usr/bin/env python3
"""SI 8.2, "Image selection using furthest point sampling": 20 of the initial cells.

Step 2 of 4; needs initial.extxyz of si_initialization.py.

As in the SI the choice has two levels, the number of atoms and the features. What differs: the
features are those of the 78 candidates of SI Table S1 with a cutoff of 6.5 Å, as mean and spread
over the atoms of a cell, instead of Amp's default functions within 3.5 Å atom by atom, which
depend on the order of the atoms.
"""

from nearsight.selection.choose import choose_images
from nearsight.structures.images import read_images, write_images

images = read_images("initial.extxyz")
chosen = choose_images(images, count=20)
unchosen = [i for i in range(len(images)) if i not in chosen]
write_images("chosen.extxyz", [images[i] for i in chosen])
write_images("unchosen.extxyz", [images[i] for i in unchosen])
print(f"chosen.extxyz: {len(chosen)} cells, unchosen.extxyz: {len(unchosen)}")
