"""A configuration carried out in its folder."""
