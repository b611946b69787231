"""What a machine refuses for want of memory: it says nothing about a file or a network."""

from __future__ import annotations

WORDS = (  # of PyTorch's allocators, of cuBLAS and cuDNN, and of oneDNN, which has no better ones
    "allocate memory",
    "out of memory",
    "_ALLOC_FAILED",
    "could not create a primitive",
)


def ran_out(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out; PyTorch has a class for CUDA's alone."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in WORDS)
    return isinstance(error, MemoryError)
