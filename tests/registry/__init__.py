"""Framed records, with a real Schema Registry and with a stand-in."""
