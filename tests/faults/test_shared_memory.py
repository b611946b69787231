"""Shared memory that is full, as docker's 64 MB are: one line, where PyTorch's queue says nothing
to who waits for images."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from scalenet.data.ahead import Fetcher


@pytest.fixture
def small():
    """Let no file of this process, in shared memory too, be larger than a page."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_images_that_do_not_fit_in_shared_memory_are_told_to_who_waits_for_them(small):
    images = Fetcher(np.zeros((4, 3, 64, 64), np.uint8))
    told = images.__getitems__(np.arange(4))
    assert isinstance(told, ValueError)
    assert str(told).startswith("49,152 bytes of images do not fit in shared memory (")
    assert "docker run --shm-size" in str(told)
