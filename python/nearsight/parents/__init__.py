"""The parent code that labels structures, and everything it has ever calculated."""

from nearsight.parents.calculator import ParentCalculator
from nearsight.parents.database import ParentResult
from nearsight.parents.failures import Failure
from nearsight.parents.origin import Origin
from nearsight.parents.parent import Parent, as_parent

__all__ = ["Failure", "Origin", "Parent", "ParentCalculator", "ParentResult", "as_parent"]
