"""One customer, as asked for by a person: what is known, what is expected, and erasure."""
