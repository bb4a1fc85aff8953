"""What is computed: windows, features, clusters, decisions.

Deterministic: the same state and the same batch give the same result.
"""
