"""A folder where a preset's stages run once, beside its variants, and each network trains once."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import yaml
from filelock import FileLock
from tqdm import tqdm

from bench.speed.common import revision
from scalenet.config import params
from scalenet.config.params import Params
from scalenet.data import readers, store
from scalenet.data.images import Images, join, on_device
from scalenet.nets import child, elastic
from scalenet.nets.elastic import Elastic
from scalenet.pipeline import settings
from scalenet.records import files
from scalenet.records.documents import DataInfo, Found
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths
from scalenet.search.scoring import Measure, Measurement
from scalenet.space.budget import Budget
from scalenet.space.network import Network, Task
from scalenet.stages import prepare, run_stage
from scalenet.training import device, fixed, loop, member

Job = tuple[Network, int]  # (network, seed)
Made = Callable[
    [Elastic, Images, Images], Measure
]  # (super-supernet, train, select) -> what scores a network


@dataclass(frozen=True)
class Lab:
    """Params and the folder of what they made.

    Everything in it is made once: a script that stops goes on there.
    """

    params: Params
    root: Path
    workers: int = 1
    trained_by: set[str] = field(
        default_factory=set, compare=False
    )  # commits of what was asked for

    @property
    def paths(self) -> Paths:
        return Paths(self.root)

    @cached_property
    def info(self) -> DataInfo:
        return DataInfo.read(self.paths.data / "info.json")

    @cached_property
    def budget(self) -> Budget:
        return Budget(self.params.space, self.params.scaling, self.task)

    @property
    def task(self) -> Task:
        """What the networks are for."""
        return self.info.task

    @property
    def found(self) -> Found:
        return Found.read(self.paths.search / "found.json")

    def prepared(self) -> Lab:
        """Split the images if need be; their source is relative to the current folder."""
        if not (self.paths.data / "info.json").exists():
            source = readers.find(self.params.data, Path.cwd())
            made = prepare.run(
                self.params, source, state=None, generator=None, device=None, emit=loop.ignore
            )
            for name, split in made.splits.items():
                store.write(self.paths.data / f"{name}.npz", **split)
            made.info.write(self.paths.data / "info.json")
        return self

    def variant(self, over: dict[str, Any]) -> Lab:
        """Return the same lab with some params changed: a folder of its own, on the same images."""
        content = json.loads(self.params.model_dump_json())
        settings.merge(content, over)
        changed = params.parse(content)
        key = identity(changed)
        if self.home.name.endswith(key):
            return replace(self, params=changed, root=self.home)
        root = self.home / "variants" / key
        if not (root / "artifacts/data").exists():
            root.mkdir(parents=True, exist_ok=True)
            files.write_bytes(root / "params.json", changed.model_dump_json(indent=2).encode())
            (root / "artifacts").mkdir(exist_ok=True)
            (root / "artifacts/data").symlink_to((self.home / "artifacts/data").resolve())
        return replace(self, params=changed, root=root)

    @property
    def home(self) -> Path:
        """The folder that variants share: trained networks depend on none of what they change."""
        return self.root.parent.parent if self.root.parent.name == "variants" else self.root

    def staged(self, *names: str) -> Lab:
        """Run stages that have not been run here; remember the seconds each took in all.

        A script that another one is ahead of waits for it.
        """
        if any(name not in self.seconds() for name in names):
            with FileLock(self.root / ".lock"):
                for name in names:
                    if name not in self.seconds():
                        self._timed(name)
        return self

    def _timed(self, name: str) -> None:
        """Run a stage; seconds of calls that were stopped count, as what they left is resumed."""
        begun, start = self.root / f".{name}.seconds", time.perf_counter()
        before = float(begun.read_text()) if begun.exists() else 0.0
        try:
            content = self.params.model_dump(mode="json")
            files.write_bytes(self.root / "params.yaml", yaml.safe_dump(content).encode())
            run_stage(self.root, name, None, loop.ignore)
        finally:
            spent = before + time.perf_counter() - start
            files.write_bytes(begun, str(spent).encode())
        shutil.rmtree(self.paths.state(name), ignore_errors=True)
        files.write_json(self.root / "seconds.json", self.seconds() | {name: spent})
        begun.unlink()

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took here."""
        file = self.root / "seconds.json"
        return files.read_json(file) if file.exists() else {}

    def remembered(
        self, name: str, needs: Any, made: Made, images: int | None = None
    ) -> tuple[Measure, Journal]:
        """Return a measure that measures a network once ever, and the journal to close after it.

        ``made`` builds it from the super-supernet and the images: train, and ``images`` of select
        (all by default). ``needs`` is what else a score depends on.
        """
        on = device.prepare(self.params.compute)
        weights = self.staged("supernet").paths.supernet / "weights.pt"
        train, select = (
            store.read(self.paths.data / f"{split}.npz") for split in ("train", "select")
        )
        splits = train, tuple(array[:images] for array in select)
        new = made(
            elastic.read(weights, on),
            *(on_device(split, self.info.mean, self.info.std, on) for split in splits),
        )
        journal = Journal(self.root / f"{name}.jsonl", files.digest(needs, images, weights))
        known = {
            Network.parse(row["network"]): Measurement(row["accuracy"], row["probability"], 0.0)
            for row in journal.records
        }

        def measure(networks: Sequence[Network]) -> Iterator[Measurement]:
            for network in networks:
                if network not in known:
                    [result] = new([network])
                    known[network] = result
                    found = {"accuracy": result.accuracy, "probability": result.probability}
                    journal.append({"network": str(network)} | found)
                yield known[network]

        return measure, journal

    # --- networks trained from scratch ------------------------------------------------------------

    def trained(self, jobs: Iterable[Job]) -> dict[Job, dict[str, Any]]:
        """Train and test networks with retrain's recipe, each with its seed, unless on file.

        What is on file may be of another day's code: ``trained_by`` has the commits of all.
        """
        jobs = list(dict.fromkeys(jobs))
        todo = [job for job in jobs if not self.on_file(*job)]
        if todo:
            with ProcessPoolExecutor(self.workers, get_context("spawn"), end_with_parent) as pool:
                done = [pool.submit(_train, self, *job) for job in todo]
                for future in tqdm(done, desc="networks trained", disable=None):
                    future.result()
        outcome = {job: files.read_json(self._file(*job)) for job in jobs}
        self.trained_by.update(one["revision"] for one in outcome.values())
        return outcome

    def on_file(self, network: Network, seed: int) -> bool:
        """Say whether a network was trained with a seed."""
        return self._file(network, seed).exists()

    def _file(self, network: Network, seed: int) -> Path:
        key = files.digest(
            str(network), seed, self.params.retrain, self.info.digest, self.params.compute.device
        )
        return self.home / "trained" / f"{key}.json"


def identity(of: Params) -> str:
    """Return the hash of what a super-supernet and a search depend on."""
    return files.digest(of.data, of.space, of.scaling, of.supernet, of.search, of.compute.device)


def end_with_parent() -> None:
    """End this worker when the script that started it is killed."""

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


def _train(lab: Lab, network: Network, seed: int) -> None:
    """Train one network and write what came of it.

    All are trained for ``retrain.recipe.steps``: ``retrain.growth`` is not for comparisons.
    """
    on = device.prepare(lab.params.compute)
    train, test = images(lab, on)
    start = time.perf_counter()
    net = child.build(network, lab.task, torch.Generator().manual_seed(seed)).to(on)
    history = member.train(lab.params.retrain, net, train, seed, None, loop.ignore)
    seconds = time.perf_counter() - start
    correct = int(fixed.predict(net, test, lab.params.retrain.batch).right.sum())
    outcome = {
        "network": str(network),
        "seed": seed,
        "correct": correct,
        "tested": len(test),
        "accuracy": correct / len(test),
    }
    more = {"loss": history[-1][1], "seconds": round(seconds, 2), "revision": revision()}
    files.write_json(lab._file(network, seed), outcome | more)


@lru_cache(maxsize=1)
def _loaded(data: Path, on: torch.device) -> dict[str, Images]:
    info = DataInfo.read(data / "info.json")
    splits = store.splits(data)
    return {name: on_device(split, info.mean, info.std, on) for name, split in splits.items()}


def images(lab: Lab, on: torch.device) -> tuple[Images, Images]:
    """Return what the family is trained on and what tests it."""
    images = _loaded(lab.home / "artifacts/data", on)
    return join(images["train"], images["select"]) if lab.params.retrain.use_select else images[
        "train"
    ], images["test"]
