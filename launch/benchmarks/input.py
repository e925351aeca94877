"""The input pipeline against what consumes it: images a second made on the host, and used by a ViT's training step.

Images are made up, so that it runs anywhere: 50,000 of CIFAR-10's size in memory, and JPEGs of ImageNet's usual size.
One thread makes one block of rows after another; all threads make the batches of eight steps at once, as the loop
asks for them. The loop makes the next batches while the device works on the last ones: a pipeline that is faster than
the step costs nothing where host and device are two machines, and its share of the time where they are one.
"""

import dataclasses
import functools
import io

import jax
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table as Screen

from genlab.data import Batches, ColorJitter, Grayscale, Images, InceptionCrop, RandAugment, RandomCrop, RandomFlip
from genlab.data.image_stores import DecodedImages, EncodedImages
from genlab.data.images import BLOCK_BYTES
from genlab.data.row_threads import available_cores
from genlab.models.vit import vit
from genlab.objectives.classification import Classification
from genlab.training.optimizers import AdamW
from genlab.training.plans import choose_plan
from genlab.training.program import program_for
from launch.benchmarks.timing import Side

ENOUGH = 2.0  # times what the step consumes
BATCH_SIZE, STEPS_PER_DISPATCH = 128, 8
CROP_AND_FLIP = (RandomCrop(padding=4), RandomFlip())
SIMCLR = (InceptionCrop(), RandomFlip(), ColorJitter(strength=0.5), Grayscale())


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """A source of random images: `count` of 32 x 32 in memory, or JPEGs of 500 x 375, decoded on access."""

    jpeg: bool = False
    count: int = 50_000

    class_names = tuple("0123456789")

    @property
    def image_shape(self) -> tuple[int | None, int | None, int]:
        """None for the JPEGs, as ImageNet's are of many sizes."""
        return (None, None, 3) if self.jpeg else (32, 32, 3)

    def load(self, split: str) -> DecodedImages | EncodedImages:
        """The same for both splits."""
        return _made_up(self)

    def describe(self) -> dict:
        """Nothing."""
        return {}


@functools.cache
def _made_up(source: MadeUp) -> DecodedImages | EncodedImages:
    rng = np.random.default_rng(0)
    if source.jpeg:
        return EncodedImages(_Jpegs(rng), source.image_shape, "made up", "made up")
    images = rng.integers(0, 256, (source.count, *source.image_shape), np.uint8)
    return DecodedImages(images, rng.integers(0, 10, source.count, np.int32), "made up")


class _Jpegs:
    """A thousand examples that share sixteen pictures: clouds, whose files are about as large as ImageNet's."""

    def __init__(self, rng: np.random.Generator):
        self._files = [self._file(rng) for _ in range(16)]

    def __len__(self) -> int:
        return 1000

    def __getitems__(self, indices) -> list[tuple[bytes, int]]:
        return [(self._files[index % 16], index % 10) for index in indices]

    @staticmethod
    def _file(rng: np.random.Generator) -> bytes:
        coarse = Image.fromarray(rng.integers(0, 256, (47, 63, 3), np.uint8)).resize((500, 375))
        noisy = np.clip(np.asarray(coarse) + rng.normal(0, 8, (375, 500, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=90)
        return file.getvalue()


PIPELINES = {
    "32 x 32: crop, flip": Images(MadeUp(), augmentation=CROP_AND_FLIP),
    "32 x 32: crop, flip, RandAugment": Images(MadeUp(), augmentation=(*CROP_AND_FLIP, RandAugment())),
    "32 x 32: SimCLR's, two views": Images(MadeUp(), augmentation=SIMCLR, views=2),
    "JPEG to 224 x 224: crop, flip": Images(
        MadeUp(jpeg=True), image_size=224, augmentation=(InceptionCrop(), RandomFlip())),
}  # fmt: skip


def pipeline_side(name: str, data: Images, threads: bool) -> Side:
    """Makes batches of training examples; seconds are of an example."""
    train = data.load().train
    rows, steps = BATCH_SIZE, STEPS_PER_DISPATCH
    if not threads:
        rows, steps = max(1, BLOCK_BYTES // int(np.prod(data.image_shape))), 1
    batches, step = Batches(train, rows, seed=0), 0

    def dispatch() -> None:
        nonlocal step
        batches.stack(step, step + steps)
        step += steps

    return Side(name, dispatch, lambda _: None, rows * steps)


def step_side(model_name: str) -> Side:
    """The training step of a ViT on 32 x 32 pixels on the device that is there; seconds are of an example."""
    size = BATCH_SIZE if jax.default_backend() != "cpu" else 16
    model = vit(model_name, image_size=32, num_classes=10, dtype="float32" if size == 16 else "bfloat16")
    optimizer = AdamW()
    program = program_for(Classification(model=model), optimizer, 1, None, choose_plan(size, devices=1))
    state = program.initial_state(0, optimizer.hyperparameters(100))
    batch = Batches(PIPELINES["32 x 32: crop, flip"].load().train, size, seed=0).stack(0, 1)
    batch = program.plan.put(batch)

    def dispatch():
        nonlocal state
        state, metrics = program.train_steps(state, batch)
        return metrics

    return Side(f"ViT-{model_name}", dispatch, jax.block_until_ready, size)


def run(model_name: str, turns: int, seconds: float, console: Console) -> tuple[dict, bool]:
    """Measures all pipelines and the step, in turns, and prints a table.

    Returns:
      (results, whether crop and flip deliver at least twice what the step consumes).
    """
    step = step_side(model_name)
    pairs = {name: [pipeline_side(name, data, threads) for threads in (False, True)]
             for name, data in PIPELINES.items()}  # fmt: skip
    sides = [step, *(side for pair in pairs.values() for side in pair)]
    for turn in range(turns + 1):
        for side in sides:
            side.take_turn(seconds if turn else 0.0)
    rates = {name: [_per_second(side) for side in pair] for name, pair in pairs.items()}
    consumed, threads = _per_second(step), available_cores()
    screen = Screen("images a second", "one thread", f"{threads} threads", f"times {step.name}'s step", box=None,
                    pad_edge=False, padding=(0, 3, 0, 0))
    for name, (one, every) in rates.items():
        screen.add_row(name, f"{one:,.0f}", f"{every:,.0f}", f"{every / consumed:,.1f}")
    screen.add_row(f"{step.name} on 32 x 32, {jax.devices()[0].device_kind}", f"{consumed:,.0f}")
    console.print(screen)
    ratio = rates["32 x 32: crop, flip"][1] / consumed
    console.print(f"crop and flip deliver {ratio:,.1f} times what the step consumes (the aim: {ENOUGH:.0f})",
                  highlight=False, soft_wrap=True)
    results = {"threads": threads, "step": {"model": step.name, "images_per_second": consumed},
               "pipelines": [{"name": name, "one_thread": one, "all_threads": every}
                             for name, (one, every) in rates.items()]}
    return results, ratio >= ENOUGH


def _per_second(side: Side) -> float:
    """Images a second: the median over turns, of which the first is not counted."""
    return 1 / float(np.median(side.seconds[1:]))
