"""The potential: symmetry functions, networks, ensemble, ASE calculator."""
