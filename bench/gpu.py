"""Half an hour on a GPU: a CIFAR-10 family against EfficientNet's law, τ, and the speed row.

Run it on a machine with PyTorch and no network, as often as it takes: each call goes on where the
last one stopped, and ends by itself after ``--seconds``. ``--wheels`` is a folder of wheels of what
that machine lacks (docs/gpu.md lists them). The first call probes the device for a minute and
chooses steps so that all of it takes about ``--minutes``. ``--status`` says what is done and runs
nothing; ``--toy`` rehearses all of it on a CPU, on digits.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
import time
import zipfile
from pathlib import Path


def options() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=540, help="this call ends after them")
    parser.add_argument("--minutes", type=float, default=25, help="for all calls together")
    parser.add_argument("--work", type=Path, default=Path("bench/work/gpu"), help="what is made")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to import from")
    parser.add_argument("--status", action="store_true", help="say what is done")
    parser.add_argument("--toy", action="store_true", help="rehearse on a CPU")
    return parser.parse_args()


def fits(wheel: Path) -> bool:
    """Tell by a wheel's name whether it is of this Python and machine."""
    python, abi, machine = wheel.stem.split("-")[-3:]
    wanted = "cp{}{}".format(*sys.version_info)
    right = abi == "abi3" or any(tag in (wanted, "py3") for tag in python.split("."))
    return right and (machine == "any" or platform.machine().lower() in machine)


def unpack(wheels: Path, folder: Path) -> None:
    """Unpack wheels, and import from there first, in the processes that are started too."""
    files = sorted(wheels.glob("*.whl"))
    if not files:
        raise SystemExit(f"--wheels is {wheels}, where no *.whl is; docs/gpu.md says how to fetch")
    if others := [file.name for file in files if not fits(file)]:
        here = f"Python {sys.version_info.major}.{sys.version_info.minor} on {platform.machine()}"
        raise SystemExit(
            f"--wheels: {', '.join(others)} is of another Python or machine than this, {here}; "
            "fetch it again by docs/gpu.md, with the --python-version and --platform of this one"
        )
    name = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    target = (folder / name).resolve()
    if not target.exists():  # another call may be importing from it
        part = folder / f"{name}.{os.getpid()}"
        for file in files:
            with zipfile.ZipFile(file) as wheel:
                wheel.extractall(part)
        part.replace(target)
    sys.path.insert(0, str(target))
    paths = [str(target), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def main() -> int:
    """Make what is imported importable, then go on with what is not done."""
    chosen = options()
    chosen.until = time.monotonic() + chosen.seconds  # imports count
    chosen.work /= "toy" if chosen.toy else "family"
    if chosen.wheels:
        unpack(chosen.wheels, chosen.work / "wheels")
    from bench.method import halfhour  # needs what was unpacked

    return halfhour.go_on(chosen)


if __name__ == "__main__":
    raise SystemExit(main())
