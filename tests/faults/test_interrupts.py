"""Ctrl-C reaches the process that a user started, and none of those that it starts."""

from __future__ import annotations

import subprocess
import sys
import time

STARTS = """
import os, signal, sys, time
from multiprocessing import get_context
from pathlib import Path
sys.path.insert(0, {folder!r})
from scalenet.config.interrupts import kept_from_children
from slow_import import serve

if __name__ == "__main__":
    with kept_from_children():
        process = get_context("spawn").Process(target=serve)
        process.start()
    while not Path("imports").exists():
        time.sleep(0.02)
    try:
        os.killpg(0, signal.SIGINT)
        time.sleep(30)
    except KeyboardInterrupt:
        print("heard", flush=True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.join(30)
    print(process.exitcode, flush=True)
"""
SLOW = """
import os, signal, time
from pathlib import Path
Path("imports").touch()
time.sleep(0.5)  # as PyTorch does

from scalenet.config.interrupts import heard_again

def serve():
    os.setsid()
    heard_again()
    try:
        os.kill(os.getpid(), signal.SIGINT)  # as one that is meant
        time.sleep(30)
    except KeyboardInterrupt:
        raise SystemExit(7)
"""


def test_no_process_that_imports_hears_ctrl_c(tmp_path):
    """Each in a terminal's group would say in a traceback what it was importing."""
    (tmp_path / "slow_import.py").write_text(SLOW)
    (tmp_path / "starts.py").write_text(STARTS.format(folder=str(tmp_path)))
    done = subprocess.run(
        [sys.executable, "starts.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    assert done.stdout.split() == ["heard", "7"] and done.stderr == ""


DROPS = """
import os, signal, time
from scalenet.pipeline import end_in_time

class Callback:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

end_in_time(1.0)
Callback()
print("went on", flush=True)
time.sleep(60)
"""


def test_a_process_in_which_ctrl_c_was_dropped_ends_all_the_same():
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", DROPS], capture_output=True, text=True)
    assert done.stdout == "went on\n" and "ignored" in done.stderr
    assert done.returncode == 130 and time.monotonic() - start < 30
