"""Numbers that no machine can do: told by key in a line, by every door."""

from __future__ import annotations

import math
import time
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalenet.config.params import Params, parse, read_yaml
from scalenet.pipeline import cli
from scalenet.space.budget import Budget
from scalenet.space.network import Task

COMMITTED = read_yaml(ROOT / "params.yaml")
NASTY = st.one_of(
    st.sampled_from(
        [None, True, "", "x" * 5000, "9" * 4000, "1e300", "nan", "-inf", [], {}, [[[]]], "!!set"]
    ),
    st.sampled_from([0, -1, 1e300, -1e300, 1e-300, 1e-9, 10**9, 10**18, 10**4000, math.nan]),
    st.integers(),
    st.floats(),
    st.lists(st.integers(0, 10**12), max_size=30),
    st.dictionaries(st.text(max_size=9), st.integers(), max_size=3),
)


def places(content: Any, path: tuple = ()) -> list[tuple]:
    """List the path of every value, sections included."""
    inside = content.items() if isinstance(content, dict) else ()
    inside = enumerate(content) if isinstance(content, list) else inside
    return [path, *(place for key, value in inside for place in places(value, (*path, key)))]


PLACES = places(COMMITTED)[1:]
DOCUMENTS = 1000  # that are tried


@pytest.fixture
def counted(record_property):
    record_property("tried", DOCUMENTS)


@pytest.mark.usefixtures("counted")
@settings(max_examples=DOCUMENTS, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(PLACES), NASTY)
def test_any_value_anywhere_is_taken_or_told_in_lines(place, value):
    content = deepcopy(COMMITTED)
    node = content
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    start = time.process_time()
    try:
        params = parse(content)
    except ValueError as error:
        lines = str(error).splitlines()
        assert len(lines) <= 11 and max(map(len, lines)) < 700
        assert all(line.startswith(("params.yaml: ", "params.yaml: and")) for line in lines)
    else:
        assert isinstance(params, Params)
        few = params.scaling.model_copy(update={"tries": min(params.scaling.tries, 200)})
        try:
            Budget(params.space, few, Task(1, 10)).check(np.random.default_rng(0))
        except ValueError as error:
            assert len(str(error)) < 700
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scaling.tries", "1e9"),
        ("supernet.sampled", "1e9"),
        ("retrain.recipe.lr", "1e300"),
        ("family.S0.multiple", "1e300"),
        ("search.population", "10000000"),
        ("data.size", "100000"),
        ("compute.threads", "9" * 5000),
        ("search.seed", "!!timestamp x"),
        ("search.seed", "[" * 900),
    ],
)
def test_the_command_tells_the_key(tmp_path, monkeypatch, key, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    done = CliRunner().invoke(cli.scalenet, ["params", "--set", f"{key}={value}"])
    assert isinstance(done.exception, ValueError) and key in str(done.exception)
    assert len(str(done.exception)) < 400
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "-inf"])
@pytest.mark.parametrize(
    "arguments",
    [
        *(("init", "digits", "x", f"--{name}") for name in ("minutes", "max-flops", "max-ms")),
        ("init", "digits", "x", "--most-skipped"),
        *(("pick", f"--{name}") for name in ("max-flops", "max-params", "max-ms", "min-accuracy")),
        ("latency", "--seconds"),
    ],
)
def test_a_number_of_an_option_is_finite(tmp_path, monkeypatch, arguments, value):
    """`init --most-skipped nan` and `--minutes nan` were taken, and refused after minutes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").touch()
    ended = CliRunner().invoke(cli.scalenet, [*arguments, value])
    [said] = ended.stderr.rpartition("\nError: ")[2].splitlines()
    assert ended.exit_code == 2 and arguments[-1] in said and value in said
    assert "is no finite number" in said and ("above 0" in said or "from 0" in said)
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]


def test_three_thousand_members_are_one_line():
    content = COMMITTED | {"family": {f"S{i}": {"multiple": 1, "seed": 0} for i in range(3000)}}
    with pytest.raises(ValueError, match=r"family: .*at most 100") as refused:
        parse(content)
    assert len(str(refused.value)) < 400


def test_a_deep_space_of_many_kernels_takes_little(make_params):
    """8 kernels in 30 layers are 8^30 choices of a block."""
    block = {"width": 8, "depth": 30, "stride": 2, "expands": [2]}
    stages = [block | {"kernels": [1, 3, 5, 7, 9, 11, 13, 15]}]
    params = make_params({"space": {"stages": stages}, "scaling": {"budget": 1e6}})
    start = time.process_time()
    Budget(params.space, params.scaling, Task(1, 10)).check(np.random.default_rng(0))
    assert time.process_time() - start < 2
