"""Other parties' formats as the events of the contract."""

from __future__ import annotations

from consumer.adapters.tmf import Rejected, TmfAdapter
from consumer.adapters.tmf_mapping import TmfMapping, load_mapping
from consumer.adapters.tmf_memory import TmfMemory

__all__ = ["Rejected", "TmfAdapter", "TmfMapping", "TmfMemory", "load_mapping"]
