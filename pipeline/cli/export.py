"""``scalenet export``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from scalenet.pipeline import complete
from scalenet.pipeline.cli import InProject, tell_if_newer


@click.command(name="export", cls=InProject)
@click.argument("member", shell_complete=complete.member)
@click.option("--onnx", "kind", flag_value="onnx", help="An ONNX model (the default).")
@click.option("--torch", "kind", flag_value="pt2", help="A torch.export program.")
@click.option("--int8", is_flag=True, help="ONNX with 8 bits a number, and the accuracy it has.")
@click.option("--out", type=click.Path(path_type=Path), help="The file (default: export/…).")
def command(member: str, kind: str | None, int8: bool, out: Path | None) -> None:
    """Write a member as one file: preprocessing of bytes and labels inside, the batch size free.

    The file is checked against the original on the test images; a model card lies beside it.

    \b
    scalenet export s1 --onnx
    scalenet export s1 --onnx --int8 --out phone.onnx
    scalenet export s1 --torch
    """
    from scalenet.export import card, files, program
    from scalenet.records.files import write_bytes
    from scalenet.records.written import percent

    kind = kind or "onnx"
    if int8 and kind != "onnx":
        raise ValueError("--int8 was given with --torch; only ONNX has it: give --onnx --int8")
    found = program.read(Path.cwd(), member.upper())
    tell_if_newer(member.upper())
    path = out or Path("export") / f"{member.lower()}{'-int8' if int8 else ''}.{kind}"
    if path.suffix != f".{kind}":
        raise ValueError(f"--out {path} was given; give a name that ends in .{kind}")
    with tempfile.TemporaryDirectory() as folder:  # what fails leaves an earlier file as it is
        made, whole = Path(folder) / f"made.{kind}", Path(folder) / "whole.onnx"
        if kind == "pt2":
            checked = files.check(found, files.torch_program(found, made))
        elif int8:
            files.onnx_model(found, whole)
            checked = files.compare(found, files.int8(found, whole, made))
        else:
            checked = files.check(found, files.onnx_model(found, made))
        write_bytes(path, made.read_bytes())
    about = path.with_name(f"{path.name}.md")  # one for each kind of file
    write_bytes(about, card.text(found, path, checked).encode())
    click.echo(f"{path}  {path.stat().st_size / 1024:.0f} KiB, card {about}")
    click.echo(
        f"checked on {checked.images} test images: top-1 {percent(checked.accuracy)}, the "
        f"original's first class for {percent(checked.agreement)}"
    )
