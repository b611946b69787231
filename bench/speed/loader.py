"""Loading: images a second and core against the usual loader, and the device's wait for data.

For arrays and JPEG folders. The usual loader opens, crops, resizes and flips every image with
Pillow each time it is asked for, in a ``torch.utils.data.DataLoader``, as torchvision's and timm's
transforms do. Ours decodes once, keeps bytes, and crops, resizes and flips a whole batch in one
resampling.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from bench.speed.common import interleaved, options, ratio, show, write
from bench.speed.step import networks, stepper
from scalenet.config import params as stage_params
from scalenet.config.params import Data
from scalenet.data import intake, listing, readers
from scalenet.data.augmentation import augment, draw
from scalenet.data.batches import Order
from scalenet.data.images import on_device
from scalenet.nets import child
from scalenet.space.network import Task
from scalenet.training.loop import step_generator

CROP = {"rotate": 0, "shift": 0.1, "scale": (0.8, 1.2), "flip": True}
EPOCHS = 3  # what is decoded once is used this often


class Usual(Dataset):
    """Random resized crops and flips, an image at a time, of arrays or files."""

    def __init__(self, images: list, px: int):
        self.images, self.px, self.rng = images, px, np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        source = self.images[i]
        image = (
            Image.open(source).convert("RGB")
            if isinstance(source, Path)
            else Image.fromarray(source)
        )
        side = int(min(image.size) * self.rng.uniform(0.8, 1))
        left, top = (int(self.rng.integers(0, size - side + 1)) for size in image.size)
        image = image.crop((left, top, left + side, top + side)).resize(
            (self.px, self.px), Image.Resampling.BILINEAR
        )
        if self.rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255 - 0.5)


def usual(images: list, px: int, batch: int) -> None:
    """Run the usual loader for the epochs, in this process: figures are per core."""
    loader = DataLoader(Usual(images, px), batch_size=batch)
    for _ in range(EPOCHS):
        for _views in loader:
            pass


def ours(pixels: np.ndarray, px: int, batch: int) -> None:
    """Crop, resize and flip the same number of images from bytes."""
    images = on_device(
        (pixels, np.zeros(len(pixels), np.int64)), [0.5] * 3, [1.0] * 3, torch.device("cpu")
    )
    section = stage_params.load(Path("params.yaml")).retrain.recipe.augment
    crop = section.model_copy(update=CROP)
    order = Order(len(pixels), batch, 0)
    for step in range(EPOCHS * len(pixels) // batch):
        draws = draw(order.batch, images.channels, crop, step_generator(0, step))
        augment(images, order.at(step), px, crop, draws)


def folder(root: Path, images: np.ndarray) -> list[Path]:
    """Write JPEGs into two class folders and return their paths."""
    paths = [root / "ab"[i % 2] / f"{i:05}.jpg" for i in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(path, quality=90)
    return paths


def decoded(data: Data, root: Path) -> np.ndarray:
    """Return a folder's images as the pipeline keeps them."""
    source = readers.labelled(data, listing.folder(root))
    return intake.pixels(data, source, np.arange(len(source.labels)))


def waiting(repeats: int) -> dict[str, float]:
    """Return the share of a default training step that goes into its data."""
    params = stage_params.load(Path("params.yaml"))
    network = networks(params)[0]  # the smallest: the quickest step, and so the largest share
    net = child.build(network, Task(1, 10), torch.Generator().manual_seed(0)).train()
    pixels = np.random.default_rng(0).integers(0, 255, (1000, 1, 8, 8), dtype=np.uint8)
    images = on_device((pixels, np.zeros(1000, np.int64)), [0.5], [1.0], torch.device("cpu"))
    index, section = torch.arange(params.retrain.recipe.batch), params.retrain.recipe.augment

    def view(step: int) -> torch.Tensor:
        draws = draw(len(index), images.channels, section, step_generator(0, step))
        return augment(images, index, network.resolution, section, draws)[0]

    variants = {"data": lambda: view(1), "step": stepper(params, net, net, view(0))}
    times = interleaved(variants, repeats)
    return ratio(times, "data", "step")


def main() -> None:
    """Time arrays of 32 px and JPEGs of 256 px, then the default run's own batches."""
    chosen, found = options(__doc__, repeats=5, images=512, batch=64), {}
    generator = np.random.default_rng(0)
    small = generator.integers(0, 255, (chosen.images, 32, 32, 3), dtype=np.uint8)
    stored = np.ascontiguousarray(small.transpose(0, 3, 1, 2))
    times = interleaved(
        {
            "usual": lambda: usual(list(small), 32, chosen.batch),
            "ours": lambda: ours(stored, 32, chosen.batch),
        },
        chosen.repeats,
    )
    found["arrays"] = ratio(times, "usual", "ours")
    show("arrays, 32 px: ours / usual, images/s", found["arrays"])
    rough = generator.integers(0, 255, (chosen.images // 2, 16, 16, 3), dtype=np.uint8)
    large = np.stack([np.asarray(Image.fromarray(image).resize((256, 256))) for image in rough])
    data = stage_params.load(Path("params.yaml")).data.model_copy(
        update={"channels": 3, "size": 128}
    )
    with tempfile.TemporaryDirectory() as root:
        paths = folder(Path(root), large)
        times = interleaved(
            {
                "usual": lambda: usual(paths, 128, chosen.batch),
                "ours": lambda: ours(decoded(data, Path(root)), 128, chosen.batch),
            },
            max(2, chosen.repeats // 2),
        )
    found["jpeg"] = ratio(times, "usual", "ours")
    show(f"JPEG folder, 256 to 128 px, {EPOCHS} epochs: ours / usual", found["jpeg"])
    found["waiting"] = waiting(20 * chosen.repeats)
    show("data / step, default run's smallest network", found["waiting"])
    write("loader", "cpu", ratio=found, images=chosen.images, epochs=EPOCHS, repeats=chosen.repeats)


if __name__ == "__main__":
    main()
