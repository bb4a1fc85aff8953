"""How the segmentation meets the world: Kafka, metrics, HTTP, the command line."""

from __future__ import annotations

import os

# Before Arrow is loaded: parts of it ask for its default pool whatever Python has chosen. That one reserves a
# gibibyte in which huge pages may be, and the kernel fills them when it has time: 30 MB in a quiet minute.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

__all__ = ["__version__"]

__version__ = "0.1.0"
