"""dvc.yaml of a folder that is no clone: whether its stages are the installed version's, and what
makes them so. A user's own stages stay, and so does how the right ones keep and draw their outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scalenet.config import yamlfile
from scalenet.records import files

OURS = "scalenet stage "  # how the command of each of our stages begins


def outdated(file: Path, template: Path) -> list[str]:
    """Return our stages that a dvc.yaml lacks, has otherwise than the template, or has no more."""
    there, ours = _stages(file), _stages(template)
    wrong = [name for name in ours if _watched(there.get(name)) != _watched(ours[name])]
    return wrong + _gone(there, ours)


def renew(file: Path, template: Path) -> str:
    """Make our stages in a dvc.yaml those of the template; return a line on it, if any were not.

    The file as it was is kept beside it. Where the new one cannot be written nothing has changed.
    """
    new = file.with_name(f"{file.name}.new")
    if new.exists() and not file.exists():  # after a kill between the two renamings below
        new.replace(file)
    wrong = outdated(file, template)
    if not wrong:
        return ""
    content = _renewed(file, template, wrong) if file.exists() else template.read_bytes()
    files.write_bytes(new, content)
    kept = f"; the file as it was is {files.set_aside(file, 'old').name}" if file.exists() else ""
    new.replace(file)
    return f"{file.name}: {', '.join(wrong)} as the installed scalenet has them{kept}"


def _renewed(file: Path, template: Path, wrong: list[str]) -> bytes:
    """Return a dvc.yaml with our stages as the template has them, and all else as it was."""
    ours, kept = _stages(template), _stages(file).items()
    if _loaded(file).keys() <= {"stages"} and all(
        ours.get(name) == stage for name, stage in kept if name not in wrong
    ):
        return template.read_bytes()  # nothing in it is a user's
    from scalenet.pipeline import yamltext  # for who renews alone

    content, new = yamltext.load(file), yamltext.load(template)["stages"]
    stages = content["stages"] = content.get("stages") or {}
    for name in wrong:
        stages.pop(name, None)
    own = {name: stages.pop(name) for name in [*stages] if name not in new}
    for name, stage in [*new.items(), *own.items()]:  # ours in their order, then a user's
        stages[name] = stages.pop(name, stage)
    return yamltext.dump(content).encode()


def _gone(there: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the stages of an earlier version that this one has not."""
    return [
        name
        for name, stage in there.items()
        if name not in ours and str(_body(stage).get("cmd")).startswith(f"{OURS}{name}")
    ]


def _watched(stage: Any) -> Any:
    """Return what decides when a stage runs, and what it makes."""
    if not isinstance(stage, Mapping):
        return None
    body = _body(stage)
    made = [part for name in ("outs", "metrics", "plots") for part in body.get(name) or ()]
    return {
        "cmd": body.get("cmd"),
        "deps": _names(body.get("deps") or ()),
        "params": _names(body.get("params") or ()),
        "outs": _names(made),
        "foreach": stage.get("foreach"),
        "always": body.get("always_changed", False),
    }


def _body(stage: Any) -> Mapping[str, Any]:
    body = stage.get("do", stage) if isinstance(stage, Mapping) else {}
    return body if isinstance(body, Mapping) else {}


def _names(entries: Any) -> list[str]:
    """Return what a list names, in one order, without the settings of each entry."""
    return sorted(str(next(iter(one), "") if isinstance(one, Mapping) else one) for one in entries)


def _stages(file: Path) -> Mapping[str, Any]:
    stages = _loaded(file).get("stages") if file.exists() else None
    return stages if isinstance(stages, Mapping) else {}


def _loaded(file: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        merged = yamlfile.conflict(file.read_text(encoding="utf-8", errors="replace"))
        raise ValueError(
            f"{file}: not valid YAML ({merged or ' '.join(str(error).split())[:200]}); mend it "
            "there, or move it away: `scalenet params` lays a new one"
        ) from error
    return content if isinstance(content, Mapping) else {}
