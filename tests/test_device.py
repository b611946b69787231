"""Where tensors are computed: memory that is not handed back between steps."""

import subprocess
import sys

import pytest

STEPS = """
import resource, torch
from scalenet.config.params import Compute
from scalenet.training import device
device.prepare(Compute(device="cpu", threads=1, workers=1, processes=1, scoring=None))
def step():
    torch.empty(2**24).fill_(1.0).mul(2.0)
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an option of glibc's malloc")
def test_memory_that_tensors_free_is_kept_for_the_next():
    """Pages handed back fault again, one by one: a third of a large network's step."""
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1000, "of 32,768 pages"
