"""The room: read weights and data, run the chain on a journal that survives interruption, write what was found."""

from __future__ import annotations

from scalenet.config.params import Params
from scalenet.data.images import on_device
from scalenet.nets import elastic
from scalenet.records import files
from scalenet.records.documents import Candidate, DataInfo
from scalenet.records.journal import Journal
from scalenet.records.paths import Paths
from scalenet.search.finetuning import Finetuner
from scalenet.search.run import journal_key, remembering, run, summary
from scalenet.search.scoring import Scorer
from scalenet.training import device


def main(params: Params, paths: Paths) -> None:
    """Read train, select and the super-supernet; write the find, the candidates and the metrics."""
    on = device.prepare(params.compute)
    info = DataInfo.read(paths.data / "info.json")
    splits = [files.read_split(paths.data / f"{name}.npz") for name in ("train", "select")]
    train, select = (on_device(split, info.mean, info.std, on) for split in splits)
    if params.search.calibration > len(train):
        raise ValueError(
            f"search.calibration: {params.search.calibration} was given, but train has {len(train)} images; "
            "give that or less"
        )
    net = elastic.read(paths.supernet / "weights.pt", on)
    scorer = Scorer(net, train, select, params.search)
    finetuned = Finetuner(net, train, select, params) if params.search.finetune.steps else None
    journal = Journal(paths.state("search") / "candidates.jsonl", journal_key(params, paths))
    try:
        found, candidates = run(params, info, *remembering(journal, scorer, finetuned))
    finally:
        journal.close()
    columns = list(Candidate.model_fields)
    files.write_table(
        paths.search / "candidates.csv", columns, [candidate.model_dump().values() for candidate in candidates]
    )
    found.write(paths.search / "found.json")
    files.write_json(paths.search / "metrics.json", summary(params, found, candidates))
