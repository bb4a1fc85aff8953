"""The two hashes that decide about a customer, on Python integers."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_MASK64: Final = (1 << 64) - 1
_MASK32: Final = (1 << 32) - 1
_K1: Final = 0x9E3779B97F4A7C15
_K2: Final = 0xC2B2AE3D27D4EB4F
_K3: Final = 0xFF51AFD7ED558CCD


@lru_cache(maxsize=200_000)
def customer_hash(customer: bytes) -> int:
    """64-bit hash that the scan and the order of changes go by; words of eight bytes."""
    h = len(customer) * _K1 & _MASK64
    whole = len(customer) // 8 * 8
    for start in range(0, whole, 8):
        h ^= int.from_bytes(customer[start : start + 8], "little") * _K2 & _MASK64
        h = ((h << 29 | h >> 35) & _MASK64) * _K1 & _MASK64
    h ^= int.from_bytes(customer[whole:], "little") * _K2 & _MASK64
    h = (h ^ h >> 33) * _K3 & _MASK64
    h = (h ^ h >> 33) * _K2 & _MASK64
    return h ^ h >> 33


def scan_key(customer: bytes) -> int:
    """Key 0..65535 of a customer in the scan."""
    return customer_hash(customer) >> 48


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 as uint32 (org.apache.kafka.common.utils.Utils.murmur2)."""
    m = 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & _MASK32
        k = (k ^ k >> 24) * m & _MASK32
        h = (h * m & _MASK32) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & _MASK32
    h = (h ^ h >> 13) * m & _MASK32
    return h ^ h >> 15


def partition_of(customer: bytes, partitions: int) -> int:
    """Partition that Kafka's default partitioner of the Java clients sends a key to."""
    return (murmur2(customer) & 0x7FFFFFFF) % partitions
