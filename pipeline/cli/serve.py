"""``scalenet serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scalenet.pipeline.cli import InProject, tell_if_newer


@click.command(name="serve", cls=InProject)
@click.argument("member", required=False)
@click.option("--alias", metavar="NAME", help="The registered model's alias, such as production.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Default: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
def command(member: str | None, alias: str | None, port: int, host: str) -> None:
    """Serve a member over HTTP, until Ctrl-C: a page to drop photographs on, and JSON.

    Photographs are read as `scalenet predict` reads them. The link that it prints carries a secret:
    nobody else on this machine gets in without it. To set one, use SCALENET_SERVE_TOKEN.

    \b
    scalenet serve s1
    scalenet serve --alias production --port 8080
    curl -H "Authorization: Bearer SECRET" -F file=@photo.jpg http://127.0.0.1:8080/predict
    """
    from scalenet.pipeline.doors import serving

    if (member is None) == (alias is None):
        raise ValueError("give a member, such as `scalenet serve s1`, or --alias NAME: one of them")
    token = serving.token_for(host)
    answer, about = built(member) if member else registered(alias or "")
    with serving.listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        place = f"http://{shown}:{listener.getsockname()[1]}"
        click.echo(f"serving   {about['member']} of {about['model']}, until Ctrl-C")
        click.echo(f"page      {place}/?token={token}")
        bearer = f'-H "Authorization: Bearer {token}"'
        click.echo(f"curl      curl {bearer} -F file=@photo.jpg {place}/predict")
        if not serving.is_loopback(host):
            click.echo("warning   others reach this server; it has no TLS: put a proxy before it")
        serving.run(serving.application(answer, about), listener, token)


def built(name: str) -> tuple[Any, dict[str, Any]]:
    """Return what answers for a member that was built here, and what it is."""
    import scalenet
    from scalenet.config import params as config
    from scalenet.export.served import Served, Stored
    from scalenet.records.paths import Paths
    from scalenet.records.written import percent

    paths = Paths(Path.cwd())
    net, info = scalenet.load(paths.root, name.upper()), paths.info()
    tell_if_newer(name.upper())
    trained = paths.trained(name.upper())
    served = Served(net, Stored(info.channels, info.size, info.classes))
    about = {
        "model": config.load(paths.root / "params.yaml").data.name,
        "member": trained.member.name,
        "test": f"{percent(trained.accuracy)} of {trained.tested:,} test images right",
        "classes": info.classes,
    }
    return lambda content: served.answers(content)[0], about


def registered(alias: str) -> tuple[Any, dict[str, Any]]:
    """Return what answers for an alias of the registered model, and what it is."""
    from mlflow import MlflowClient, pyfunc

    from scalenet.config import params as config
    from scalenet.pipeline.models import evidence, generations, registry

    params = config.load(Path.cwd() / "params.yaml")
    version = generations.pointed(Path.cwd(), params, alias)
    if not registry.is_member(version):
        raise ValueError(
            f"--alias {alias} is version {version.version}, which is no member of a generation, so "
            f"it may take no image files; {generations.pointing(alias)}"
        )
    if version.tags.get("takes") != registry.TAKES:
        raise ValueError(
            f"--alias {alias} is version {version.version}, which an earlier scalenet registered: "
            f"it takes no image files. Run `scalenet register`, then point {alias} at the new one"
        )
    if gone := evidence.gone(MlflowClient(), version):
        raise ValueError(
            f"--alias {alias} is version {version.version}, {version.tags['member']}: {gone}. Run "
            "`scalenet register` where that family lies, which stores it again, or point "
            f"{alias} at another: {generations.pointing(alias)}"
        )
    model = pyfunc.load_model(f"models:/{version.name}/{version.version}")
    about = {
        "model": version.name,
        "member": f"{version.tags['member']} (alias {alias}, version {version.version})",
        "test": (version.description or "").partition(" (")[0],
        "classes": model.metadata.metadata["classes"],
    }
    return lambda content: model.predict(content).to_dict("records")[0], about
