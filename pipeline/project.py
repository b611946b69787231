"""A project's folder: a clone, or any other folder, where the package brings the files.

In a clone a stage depends on its code's folders. Elsewhere it depends on one small file that holds
their digest; ``scalenet`` writes it before DVC looks, so that after an upgrade the stages whose
code changed run.
"""

from __future__ import annotations

import logging
import os
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import scalenet
from scalenet.config.defaults import DEFAULTS
from scalenet.pipeline import renewal
from scalenet.records import files
from scalenet.stages import STAGES, code_digest

if TYPE_CHECKING:
    from scalenet.pipeline.repro import Graph  # a second of imports that a stage does without

PACKAGE = Path(__file__).parents[1]  # the clone's root, or the installed package
FILES = PACKAGE / "pipeline" / "files"  # of a folder that is no clone
# A project's file and what it is made from; dvc.yaml has another name, lest DVC reads it here
LAID = {
    "dvc.yaml": "dvc.template.yaml",
    "data/digits/README.md": "data/digits/README.md",
    ".dvcignore": "dvcignore",
    ".gitignore": "gitignore",
    "prefect.yaml": "prefect.yaml",
}
PRIVATE = b"/config.local\n/tmp\n/cache\n"  # below .dvc, as DVC itself says
CODE = ".scalenet"  # where the small files lie
CHECK = "code"  # the stage that refuses digests of other code


def begin(root: Path) -> bool:
    """Lay a project's files in a folder that has no params.yaml; tell whether that was so."""
    if (root / "params.yaml").exists():
        return False
    for name, file in LAID.items():
        if not (root / name).exists():
            files.write_bytes(root / name, (FILES / file).read_bytes())
        elif name.endswith("ignore"):
            _ignore_too(root / name, (FILES / file).read_text(encoding="utf-8"))
    _begin_dvc(root)
    files.write_bytes(root / "params.yaml", DEFAULTS.read_bytes())
    return True


def _ignore_too(file: Path, ours: str) -> None:
    """Add our lines to a file of things to ignore that lacks them."""
    known = file.read_text(encoding="utf-8")
    if missing := [line for line in ours.splitlines() if line not in known.splitlines()]:
        whole = known if known.endswith("\n") or not known else known + "\n"
        files.write_bytes(file, (whole + "\n".join(missing) + "\n").encode())


def begin_if_empty(root: Path) -> None:
    """Begin a project in an empty folder; ``ValueError`` in one that holds other things but no
    project."""
    if (root / "params.yaml").exists():
        return
    others = [path.name for path in root.iterdir() if path.name not in (".git", ".state")]
    if others:
        raise ValueError(
            f"{root} has no params.yaml; go to a project's folder, to an empty one, or begin a "
            "project: `scalenet init PHOTOS`"
        )
    begin(root)


def _begin_dvc(root: Path) -> None:
    """Make the folder DVC's, with our plots; within git or without."""
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # a result is told, not each file
    root = root.resolve()  # a relative folder has no parents to look for git in
    if not (root / ".dvc").exists():
        top = next((p for p in (root, *root.parents) if (p / ".git").exists()), None)
        repo = Repo.init(str(root), no_scm=top is None, subdir=top not in (None, root))
        with repo, repo.config.edit("repo") as config:
            config.setdefault("core", {})["analytics"] = False
            config["plots"] = {"html_template": "plots/page.html"}
        if top is None:  # DVC says what git leaves out only where there is a git
            files.write_bytes(root / ".dvc" / ".gitignore", PRIVATE)
    shutil.copytree(FILES / "plots", root / ".dvc" / "plots", dirs_exist_ok=True)


# --- the code that stages depend on ---------------------------------------------------------------


def is_clone(root: Path) -> bool:
    """Tell whether a folder holds this project's own code."""
    return (root / "src" / "scalenet").is_dir()


def refresh(root: Path) -> None:
    """Write the digest of each stage's code, in a folder that does not hold the code itself."""
    if not is_clone(root):
        for stage in STAGES:
            if not _fresh(root, stage):
                files.write_json(root / CODE / f"{stage}.json", _digest(stage))


def renew(root: Path) -> str:
    """Make the stages of dvc.yaml those of this version, where the package brings them; return a
    line on it if any were not."""
    return "" if is_clone(root) else renewal.renew(root / "dvc.yaml", FILES / LAID["dvc.yaml"])


def check_stages(root: Path) -> None:
    """Refuse a dvc.yaml that another version of the package has laid."""
    if is_clone(root):
        return
    if wrong := renewal.outdated(root / "dvc.yaml", FILES / LAID["dvc.yaml"]):
        raise ValueError(
            f"dvc.yaml is of another version of scalenet than the installed one (stages "
            f"{', '.join(wrong)}); `scalenet params` renews it and leaves stages of your own as "
            "they are; then run it again (a scheduled run takes what is committed: commit it first)"
        )


def _fresh(root: Path, stage: str) -> bool:
    try:
        return files.read_json(root / CODE / f"{stage}.json") == _digest(stage)
    except ValueError:  # missing, or as git leaves it in a merge
        return False


def _digest(stage: str) -> dict[str, str]:
    return {"stage": stage, "code": code_digest(stage)}


def check_code(root: Path) -> None:
    """Refuse code, digests of code, or stages that are not what is installed: DVC would lock them
    as if they had run."""
    if is_clone(root):
        _check_clone(root)
        return
    check_stages(root)
    stale = [stage for stage in STAGES if not _fresh(root, stage)]
    if stale:
        raise ValueError(
            f"{CODE}/ is of another version of scalenet than the installed one (stages "
            f"{', '.join(stale)}); `scalenet params` brings it up to date, then run "
            "`dvc repro` again"
        )


def _check_clone(root: Path) -> None:
    """Refuse a clone whose code is not the installed one: a copy of it that holds another
    revision, or one into which another clone's package was installed."""
    package, stages = root / "src" / "scalenet", root / "stages"
    if package.resolve() == Path(scalenet.__file__).parent.resolve():
        return
    other = [s for s in STAGES if code_digest(s, package, stages) != code_digest(s)]
    if other:
        raise ValueError(
            f"{root} holds other code than is installed (stages {', '.join(other)}); run "
            "`pip install --editable .` there, in an environment of its own, or give a revision "
            "with the code of this one (commit what was changed)"
        )


def settled(root: Path, stages: Graph, needs: dict[str, set[str]]) -> dict[str, set[str]]:
    """Lock the stage that checks the digests, which were just written; return the others, each
    with those that it needs."""
    check_code(root)
    if CHECK in needs:
        stages.commit(CHECK)
    return {name: needed - {CHECK} for name, needed in needs.items() if name != CHECK}


# --- Prefect --------------------------------------------------------------------------------------


def prefect_is_configured() -> bool:
    """Tell whether a Prefect server may be configured, without importing Prefect, which takes
    seconds."""
    if os.environ.get("PREFECT_API_URL"):
        return True
    content = prefect_profiles()
    active = os.environ.get("PREFECT_PROFILE") or content.get("active", "")
    return "PREFECT_API_URL" in content.get("profiles", {}).get(active, {})


def prefect_profiles() -> dict[str, Any]:
    """Return what Prefect's file of profiles holds; ``ValueError`` names one that is none."""
    try:
        file = Path(os.environ.get("PREFECT_PROFILES_PATH") or _prefect_home() / "profiles.toml")
    except RuntimeError:  # this user has no home at all
        return {}
    if not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file}: Prefect's profiles cannot be read ({error}); mend them there, or move the "
            "file away to do without"
        ) from error


def _prefect_home() -> Path:
    return Path(os.environ.get("PREFECT_HOME") or "~/.prefect").expanduser()
