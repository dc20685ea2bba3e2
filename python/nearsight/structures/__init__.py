"""Structures: reading, checking, cutting chunks, making crystals."""
