"""What memory a process takes, when mapped state has to give back some of it, and what allocators keep for later."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

_STATM = Path("/proc/self/statm")
#: Mapped pages below this share of the limit stay, however much the process takes otherwise: dropping few is in vain.
_MAPPED_SHARE = 8


class MemoryLimit:
    """How much memory the process is to take, mapped files included."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes

    def is_passed(self) -> bool:
        """Whether pages of mapped files should be given back; false where the system does not tell (10 µs)."""
        try:
            _, resident, shared, *_ = (int(pages) * _PAGE for pages in _STATM.read_text().split())
        except (OSError, ValueError):
            return False
        return resident > self._limit_bytes and shared > self._limit_bytes // _MAPPED_SHARE


def release_unused() -> None:
    """Give back to the system what allocators keep of memory that was freed (about 10 ms after a large batch)."""
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


_PAGE = os.sysconf("SC_PAGE_SIZE")
