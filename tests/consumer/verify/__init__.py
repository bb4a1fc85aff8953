"""Laws of the verification."""
