"""README and the guides as programs: their commands run in order, their outputs are compared."""
