"""A .dvcignore and the images: what DVC does not see is refused, not called up to date."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import verb

from scalenet.pipeline import project as projects
from scalenet.pipeline.repro import Graph


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a project with four images, of which two may be ignored, and a note."""
    monkeypatch.chdir(tmp_path)
    projects.begin(tmp_path)
    projects.refresh(tmp_path)
    for name in ("a/1.png", "a/2.jpg", "b/1.png", "b/old/2.png", "notes.txt", "a/.hidden.png",
                 "c.parquet", "l.csv", "empty/notes.txt"):  # fmt: skip
        file = tmp_path / "data/photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    verb(tmp_path, "params", "--set", "data.source=data/photos")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("*.jpg", "a/2.jpg"),
        ("old", "b/old"),
        ("data/photos/b/", "b"),
        ("photos", ""),
        ("*.parquet", "c.parquet"),
        ("l.csv", "l.csv"),
        ("empty/", None),
        ("*.txt", None),
        (".hidden.*", None),
    ],
)
def test_images_that_dvc_ignores_are_refused(project, line, named):
    ignore = project / ".dvcignore"
    ignore.write_text(f"{ignore.read_text()}{line}\n")
    code, _, said = verb(project, "status")
    if named is None:
        assert (code, said) == (0, "")
        return
    assert code == 2 and len(said.splitlines()) == 1
    name = said.split()[1]
    assert name == str(project / "data/photos" / named)
    command = [sys.executable, "-m", "dvc", "check-ignore", "--details", name]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert f":{line}" in done.stdout, "as the line says"


def test_a_dvcignore_among_the_images_is_named(project):
    (project / "data/photos/.dvcignore").write_text("*.tmp\n")
    (project / "artifacts").mkdir()
    Graph(project).needs(None)
    for ask in (lambda: Graph(project).changed("prepare"), Graph(project).reasons):
        with pytest.raises(ValueError, match=r"\.dvcignore .*data/photos'; move that file out"):
            ask()
