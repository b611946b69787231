"""docs/reference.md is what the code says, and a shell completes what is there."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scalenet.config.params import Params
from scalenet.pipeline import clean, comments, complete, reference
from scalenet.pipeline.cli.clean import KINDS as ONLY
from scalenet.stages import STAGES

ROOT = Path(__file__).parent.parent
PARAMS = (ROOT / "params.yaml").read_text()


def test_the_page_is_what_the_code_says():
    made = reference.page()
    assert (ROOT / "docs/reference.md").read_text() == made, (
        "run `python -m scalenet.pipeline.reference > docs/reference.md`"
    )


def test_every_number_has_a_meaning():
    said, schema = comments.meanings(PARAMS), Params.model_json_schema()
    explained = {name for name in said if "." in name}  # a whole section's says too little
    homes = {}
    for name, part in schema["properties"].items():
        for key, _, home in reference.fields(part, schema, name):
            plain = key.replace("[]", "").replace("S*", "S0")
            if {plain, plain.rpartition(".")[0]} & explained:
                homes[home] = key
            assert home in homes, f"params.yaml says nothing of {key}"


def test_a_comment_is_that_of_its_key():
    text = (
        "# of the file\na:  # of a,\n    # still\n  b: 1\n  # of nobody\n  c: {d: 2}  # of multi-\n"
    )
    text += "         # word\n  e: 'x#y'\n"
    assert comments.meanings(text) == {"a": "of a, still", "a.c": "of multi-word"}
    assert dict(comments.leaves(yaml.safe_load(text))) == {"a.b": 1, "a.c.d": 2, "a.e": "x#y"}


@pytest.mark.parametrize(
    "schema, said",
    [
        ({"type": "integer", "minimum": 1, "maximum": 10**9}, "whole number, 1 to 1e+09"),
        ({"type": "number", "exclusiveMinimum": 0, "le": 1}, "number, above 0, up to 1"),
        ({"type": "integer", "ge": 1, "odd": True}, "odd whole number, from 1"),
        ({"anyOf": [{"enum": [1, 3]}, {"type": "null"}]}, "`1` or `3` or null"),
        (
            {"type": "array", "minItems": 1, "items": {"type": "string"}},
            "list, at least 1, each a text",
        ),
    ],
)
def test_a_range_is_said_in_words(schema, said):
    assert reference.kind(schema, {}) == said


def test_every_document_and_table_of_a_stage_is_described():
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    files = set()
    for stage in graph.values():
        entry = stage.get("do", stage)
        outs = [*entry.get("outs", []), *entry.get("metrics", []), *entry.get("plots", [])]
        files |= {
            next(iter(out)).removeprefix("artifacts/").replace("${key}", "S*") for out in outs
        }
    written = {name for name in files if name.endswith((".json", ".csv"))}
    untyped = {name for name in written if name.endswith(("metrics.json", "law.json"))}
    described = {*reference.DOCUMENTS, *reference.TABLES} - {"plan/S*.json"}  # DVC has the folder
    assert written - untyped == described


# --- completion -----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/tall.yaml").write_text("{}")
    return tmp_path


def completed(folder, *words):
    """Return what a real bash completes the last word to."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = f"""
eval "$(scalenet completion bash)"
COMP_WORDS=(scalenet {quoted}); COMP_CWORD={len(words)}
$(complete -p scalenet | sed 's/.*-F \\([^ ]*\\).*/\\1/') scalenet
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", "--norc", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "words, said",
    [
        (["st"], ["status", "stage"]),
        (["predict", "s"], ["s0", "s1", "s2", "s3", "s4", "s5"]),
        (["export", "S5"], ["S5"]),
        (["stage", "retrain", "s1"], ["S1"]),
        (["run", "--target", "retrain@S4"], ["retrain@S4"]),
        (["run", "--preset", "t"], ["tall", "tiny"]),
        (["params", "--set", "search.pop"], ["search.population=8"]),
        (["completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes(folder, words, said):
    assert completed(folder, *words) == said


def test_a_folder_without_params_completes_nothing_and_says_nothing(tmp_path):
    assert completed(tmp_path, "predict", "s") == []
    assert completed(tmp_path, "nothing", "s") == ["status", "serve", "stage"]  # no verb: verbs
    (tmp_path / "params.yaml").write_text("{")
    assert completed(tmp_path, "params", "--set", "search") == []


def test_a_shell_does_not_wait(folder):
    command = [sys.executable, "-m", "scalenet.pipeline"]
    asked = {"COMP_WORDS": "scalenet run --set search.p", "COMP_CWORD": "3"}
    asked |= {"_SCALENET_COMPLETE": "zsh_complete"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        command, cwd=folder, env=os.environ | asked, capture_output=True, text=True
    )
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert "search.population=8" in done.stdout
    assert "base models per generation" in done.stdout  # zsh shows what a key means
    assert seconds < 0.8  # of processor time; 0.25 where nothing else runs


def test_the_stages_to_complete_are_those_there_are():
    assert tuple(STAGES) == complete.STAGES
    assert tuple(clean.KINDS) == ONLY
