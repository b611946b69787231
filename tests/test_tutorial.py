"""docs/tutorial.md, typed as it stands: each block runs, and says what the page shows."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT

FENCE = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WORD = re.compile(r"^[A-Za-z][\w.@-]*", re.MULTILINE)  # what begins a line of output
MAYBE = re.compile(r"(retrain@)?S\d+|[Ww]arning")  # lines that depend on the minutes


class Step(NamedTuple):
    """What is typed, what the page shows of its output, and what it said."""

    typed: str
    shown: str
    said: str


class Reader:
    """Somebody who types what the page says, block after block, in a folder of their own."""

    def __init__(self, folder: Path, rehearse: bool):
        self.folder, self.rehearse = folder, rehearse
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        self.environment = kept | {"PREFECT_HOME": str(folder / "prefect"), "PATH": path}
        self.steps: list[Step] = []

    def read(self, page: str) -> None:
        for language, text in FENCE.findall(page):
            if language == "text":
                self.steps[-1] = self.steps[-1]._replace(shown=text)
            else:
                self.steps.append(Step(text, "", self.type(language, text)))

    def type(self, language: str, text: str) -> str:
        here = self.folder / "here"
        if language == "python":
            return self.run(sys.executable, "-c", text)
        said = self.run("bash", "-euo", "pipefail", "-c", f"{text}\npwd > '{here}'")
        self.folder_now = Path(here.read_text().strip())
        if self.rehearse and "scalenet init" in text:
            steps = ("--set", "retrain.recipe.steps=100", "--set", "retrain.recipe.warmup=10")
            self.run("scalenet", "params", "--preset", "tiny", *steps)
        return said

    def run(self, *command: str) -> str:
        where = getattr(self, "folder_now", self.folder)
        done = subprocess.run(
            command, cwd=where, env=self.environment, capture_output=True, text=True, timeout=1500
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def said(self, typed: str) -> str:
        """Return the output of the last step in which this was typed."""
        return [step.said for step in self.steps if typed in step.typed][-1]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(True, id="rehearsed"),  # the plan's numbers replaced by those of a minute
        pytest.param(False, id="as written", marks=pytest.mark.long),
    ],
)
def reader(request, tmp_path_factory):
    reader = Reader(tmp_path_factory.mktemp("tutorial"), request.param)
    reader.read((ROOT / "docs/tutorial.md").read_text())
    return reader


def words(text: str) -> list[str]:
    found = WORD.findall(text)
    return list(dict.fromkeys(word for word in found if not MAYBE.fullmatch(word)))


def test_every_line_that_the_page_shows_is_said(reader):
    shown = [step for step in reader.steps if step.shown]
    assert len(shown) >= 6
    for step in shown:
        missing = set(words(step.shown)) - set(words(step.said))
        assert not missing, f"{step.typed} says nothing that begins with {missing}: {step.said}"


def test_the_plan_counts_the_images(reader):
    plan = reader.said("scalenet init")
    assert "480 colour images of 4 classes" in plan and "120 images a class" in plan


def test_the_photographs_are_named(reader):
    project = reader.folder / "shapes-family"
    with (project / "said.csv").open() as file:
        rows = list(csv.DictReader(file))
    kinds = {path.name for path in (reader.folder / "shapes").iterdir()}
    assert len(rows) == 480 and {row["class"] for row in rows} <= kinds
    assert "000.jpg" in rows[0]["file"] and not any(row["fault"] for row in rows)


def test_the_exported_and_the_registered_model_say_what_predict_says(reader):
    first = reader.said("predict s2 ../shapes/circle/000.jpg").splitlines()[0].split()
    name, chance = reader.said("onnxruntime").split()
    assert first[1] == name and abs(float(first[2].rstrip("%")) / 100 - float(chance)) < 0.01
    assert name in reader.said("mlflow.pyfunc")


def test_a_change_runs_again_what_follows_from_it_and_nothing_else(reader):
    changed, back = (step.said for step in reader.steps if "scalenet params" in step.typed)
    fresh = re.findall(r"^(\w+) +up to date", changed, re.MULTILINE)
    assert fresh == ["prepare", "supernet", "baselines"] and "search.seed: 0 -> 1" in changed
    assert "min" not in back
