"""``python -m scalenet.pipeline``: the command ``scalenet``, where it is not on the PATH."""

from scalenet.pipeline import command

if __name__ == "__main__":
    raise SystemExit(command())
