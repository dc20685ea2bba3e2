"""CHGNet as a parent; its weights come with its package (``pip install chgnet``)."""

from functools import cache

from ase.calculators.calculator import Calculator, all_changes

VACUUM = 8.0  # Å


@cache
def model():
    """The ASE calculator of CHGNet 0.3.0, loaded once in a process."""
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu", verbose=False)


class Boxed(Calculator):
    """CHGNet wants a periodic cell: free particles get one, with empty space around them."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Ask CHGNet; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        boxed = atoms.copy()
        if not atoms.pbc.any():
            boxed.center(vacuum=VACUUM)
            boxed.pbc = True
        boxed.calc = model()
        self.results = {name: model().get_property(name, boxed) for name in properties}
