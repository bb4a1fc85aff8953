"""The chaos suite: real processes on a real Apache Kafka, killed and cut off on purpose, and what must hold.

`python -m tests.chaos` runs it; `--only` and `--seed` replay one run.
"""
