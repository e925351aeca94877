"""What a diffusion run makes: samples, their way from noise, and held-out images restored, edited, interpolated."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genlab.configuration import ConfigError
from genlab.diffusion.editing import edit
from genlab.diffusion.generate import generate, tells_of_steps
from genlab.diffusion.guidance import clean_classifier_guided, within
from genlab.diffusion.inverse import NullSpace, solve_inverse
from genlab.diffusion.likelihood import ProbabilityFlow, interpolate
from genlab.diffusion.operators import Colourisation, Inpainting, Operator, SuperResolution
from genlab.diffusion.samplers import Samples
from genlab.figures.montage import save_animation, save_montage
from genlab.figures.trajectories import trajectories
from genlab.objectives.diffusion import ImageDiffusion, ScoreMatching
from genlab.objectives.generation import Draw
from genlab.objectives.grey_levels import GreyLevels
from genlab.randomness import stream_key
from genlab.trained import Trained, load_splits
from launch.samples.arrays import made_by, write_arrays
from launch.samples.images import held_out_images

TASKS = ("generate", "inpaint", "super_resolution", "colourise", "interpolate", "edit")
FORMATS = (".png", ".gif", ".npz")
_FRAMES = 40  # of an animation
_FLOW = ProbabilityFlow(steps=20)  # of an interpolation
_CLOUD = 2_000  # points of a figure of trajectories
_GUIDED = 3.0  # sigma / alpha up to which a classifier guides: see genlab.diffusion.guidance.clean_classifier_guided


@dataclass(frozen=True)
class Request:
    """What is asked of a run.

    Attributes:
      sampler: see launch/samples/samplers.py.
      count: of samples, or of held-out images of a task.
      guidance: scale, 1 for none.
      classes: asked for, in turn; all of them by default.
      task: one of TASKS.
      strength: of an edit.
      chunk: samples at a time.
      seed: of the noise, and of which held-out images: evenly spaced ones for 0.
      classifier: a run of classification that guides samples too, by the images that are expected; or none.
      classifier_scale: of that guidance.
      start: the time that samples end at; none for where the run's objective has them end.
    """

    sampler: Any
    count: int = 64
    guidance: float = 1.0
    classes: tuple[int, ...] = ()
    task: str = "generate"
    strength: float = 0.5
    chunk: int = 64
    seed: int = 0
    classifier: Trained | None = None
    classifier_scale: float = 1.0
    start: float | None = None

    @property
    def draw(self) -> Draw:
        """How a sample is made, but for the classifier."""
        return Draw(self.sampler, self.guidance, self.start)

    def check(self, experiment: Any, path: Path) -> None:
        """Raises ConfigError, in one line, for what cannot be made of this run, or written to this path."""
        objective = experiment.objective
        self.draw.check(objective)
        classes = self.num_classes(experiment)
        theirs = self.classifier and self.classifier.experiment
        if theirs and (not hasattr(theirs.objective, "probabilities")
                       or theirs.data.image_shape != getattr(experiment.data, "image_shape", None)):
            raise ConfigError(f"{self.classifier.folder} is no run of classification of such images; --classifier "
                              "needs one")
        own = objective.model.num_classes
        if own not in (0, classes):
            raise ConfigError(f"{self.classifier.folder} knows {classes} classes and this run {own}; --classifier "
                              "needs a run of classification on the same classes")
        if self.classes and not classes:
            raise ConfigError("classes are asked for, but this run is unconditional")
        for label in self.classes:
            if not 0 <= label < classes:
                raise ConfigError(f"there is no class {label} among {classes}, 0 to {classes - 1}")
        if path.suffix not in FORMATS:
            raise ConfigError(f"--output={path} must end in {', '.join(FORMATS)}: a picture, an animation or arrays")
        images = isinstance(objective, ImageDiffusion)
        if not images and (self.task != "generate" or path.suffix == ".gif"):
            asked, rather = ((f"--output={path}, an animation,", "write .png or .npz") if self.task == "generate" else
                             (f"--task={self.task}", "leave it out"))
            raise ConfigError(f"{asked} is of images, and this run is of points: {rather}")
        if self.task != "generate" and path.suffix == ".gif":
            raise ConfigError(f"an animation is of samples on their way; {self.task} writes .png or .npz")

    def num_classes(self, experiment: Any) -> int:
        """How many classes can be asked for: those of the classifier, or of the run itself."""
        return (self.classifier.experiment if self.classifier else experiment).objective.model.num_classes

    def labels(self, experiment: Any) -> np.ndarray | None:
        """The class of each sample, int32 [count]; None of an unconditional run."""
        classes = self.num_classes(experiment)
        if not classes:
            return None
        return np.resize(np.asarray(self.classes or range(classes), np.int32), self.count)


def make(run: Trained, request: Request, path: Path, on_progress: Callable[[int, int], None] | None = None) -> str:
    """Writes what is asked for, and returns a line about it."""
    request.check(run.experiment, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if request.task != "generate":
        return _restored(run, request, path, on_progress)
    points = not isinstance(run.experiment.objective, ImageDiffusion)
    frames = min(_FRAMES, getattr(request.sampler, "steps", _FRAMES)) if path.suffix == ".gif" or points else 0
    samples = draw(run, request, frames, on_progress)
    said = f"{request.count} samples{_cost(request)}"
    if path.suffix == ".npz":
        write_arrays(path, decoded(run, samples.x), request.labels(run.experiment), settings_of(run, request))
    elif points:
        source = load_splits(run.experiment.data).held_out
        held_out = source.gather(np.arange(min(_CLOUD, len(source))))["point"]
        trajectories(samples.trajectory[:, :_CLOUD], samples.times, held_out).savefig(path, dpi=200)
    elif path.suffix == ".gif":
        save_animation(decoded(run, samples.trajectory), _columns(request, run), path)
    else:
        save_montage(decoded(run, samples.x), _columns(request, run), path)
    return said


def draw(run: Trained, request: Request, intermediates: int = 0,
         on_progress: Callable[[int, int], None] | None = None) -> Samples:
    """Samples [count, ...] in the units of the network."""
    objective: ScoreMatching = run.experiment.objective
    classifier = request.classifier
    denoiser_of = _denoiser_of(objective, request.guidance, classifier and classifier.experiment.objective,
                               request.classifier_scale)
    variables = (run.variables, classifier.variables if classifier else {})
    plan = run.program.plan
    mesh, placing = (None, contextlib.nullcontext()) if plan.by_examples else (plan.mesh, plan.placing())
    with placing:
        return generate(
            request.sampler, objective.sampling_path(request.start), denoiser_of, variables,
            stream_key(request.seed, "sample"), request.count, objective.example_shape(),
            chunk=min(request.chunk, request.count), label=request.labels(run.experiment), intermediates=intermediates,
            mesh=mesh, on_progress=on_progress)


@functools.lru_cache(maxsize=4)
def _denoiser_of(objective: ScoreMatching, guidance: float, classifier: Any, scale: float) -> Callable:
    """((the run's variables, the classifier's), labels or None) -> Denoiser: one function for equal objectives."""
    def denoiser_of(variables, label):
        own, told = variables
        denoiser = objective.denoiser(own, label if objective.model.num_classes else None, guidance)
        if classifier is None:
            return denoiser
        return clean_classifier_guided(objective.path, denoiser,
                                       functools.partial(log_probability, classifier, objective.pixels, told),
                                       label, within(objective.path, scale, 0.0, _GUIDED, outside=0.0))

    return denoiser_of


def log_probability(classifier: Any, pixels: GreyLevels, variables, x, label_B):
    """A classification objective's of the classes, [B], for x in the units of diffusion, whose levels are `pixels`."""
    # 0 to 255, as bytes are: pixels.normalize undone, without rounding, which has no gradient.
    images = (0.5 * pixels.count * (x + 1) - 0.5) * (255 / (pixels.count - 1))
    logits_BK = classifier.model.apply(variables, classifier.pixels.normalize(images))
    return jnp.take_along_axis(jax.nn.log_softmax(logits_BK), label_B[:, None], axis=-1)[:, 0]


def decoded(run: Trained, x: np.ndarray) -> np.ndarray:
    """Samples as data: uint8 images, or points."""
    return np.asarray(run.experiment.objective.decode(x))


def settings_of(run: Trained, request: Request) -> dict[str, Any]:
    """What made samples, as JSON has it."""
    settings = made_by(run, request.draw) | {"seed": request.seed, "chunk": request.chunk}
    if request.classifier:
        settings |= {"classifier": str(request.classifier.folder), "classifier_step": request.classifier.step,
                     "classifier_scale": request.classifier_scale}
    return settings


def operator_of(task: str, shape: tuple[int, int, int]) -> Operator:
    """What is measured of an image: all but its middle, averages of 2 x 2 pixels, or the mean of its colours."""
    I, J, C = shape
    if task == "inpaint":
        mask = np.ones((I, J), bool)
        mask[I // 4:I - I // 4, J // 4:J - J // 4] = False
        return Inpainting(mask)
    if task == "super_resolution":
        return SuperResolution(2)
    if C != 3:
        raise ConfigError(f"images of {C} channel{'s' * (C > 1)} have no colours to find; colourise needs 3")
    return Colourisation()


def _restored(run: Trained, request: Request, path: Path, on_progress: Callable[[int, int], None] | None) -> str:
    """Rows of held-out images, of what is kept of them, and of what is made of that."""
    objective: ImageDiffusion = run.experiment.objective
    examples = held_out_images(run, request.count, request.seed)
    batch = {"x": np.asarray(objective.pixels.normalize(examples["image"]))}
    batch |= {"label": examples["label"].astype(np.int32)} if objective.model.num_classes else {}
    batch |= {f"next_{name}": np.roll(array, -1, axis=0) for name, array in batch.items()}
    rows = {"image": batch["x"], **_in_chunks(run, request, batch, on_progress)}
    pictures = {name: decoded(run, row) for name, row in rows.items()}
    if path.suffix == ".npz":
        np.savez_compressed(path, **pictures)
    else:
        save_montage(np.concatenate(list(pictures.values())), len(batch["x"]), path)
    cost = f", {4 * _FLOW.steps} evaluations each way" if request.task == "interpolate" else _cost(request)
    return f"{len(batch['x'])} held-out images, rows: {', '.join(rows)}{cost}"


def _in_chunks(run: Trained, request: Request, batch: dict[str, np.ndarray],
               on_progress: Callable[[int, int], None] | None) -> dict[str, np.ndarray]:
    """What a task makes of images, so many at a time, by one program: the last chunk is filled up and cut."""
    count = len(batch["x"])
    size, done, found = min(request.chunk, count), 0, []
    told = {}
    if on_progress and request.task != "interpolate" and tells_of_steps(request.sampler):
        told["on_steps"] = lambda steps: on_progress(
            min(done + int(size * int(steps) / request.sampler.steps), count), count)
    names: list[str] = []

    @jax.jit
    def rows_of(variables, chunk, key):
        rows = _TASKS.get(request.task, _measured)(run.experiment.objective, request, told, variables, chunk, key)
        names[:] = rows  # In this order, which a dict of jax.jit's has not.
        return tuple(rows.values())

    for i in range(0, count, size):
        chunk = {name: np.resize(array[i:i + size], (size, *array.shape[1:])) for name, array in batch.items()}
        with run.program.plan.placing():
            rows = rows_of(run.variables, chunk, jax.random.fold_in(stream_key(request.seed, "sample"), i))
        found.append(jax.device_get(rows))
        done += size
        if on_progress:
            on_progress(min(done, count), count)
    return {name: np.concatenate(chunks)[:count] for name, chunks in zip(names, zip(*found, strict=True), strict=True)}


def _measured(objective, request: Request, told, variables, batch, key) -> dict[str, jax.Array]:
    """By NullSpace: of the methods of genlab/diffusion/inverse.py it and Replacement came out best on digits."""
    x = batch["x"]
    operator = operator_of(request.task, x.shape[1:])
    y = operator.apply(x)
    denoiser = objective.denoiser(variables, batch.get("label"), request.guidance)
    solved = solve_inverse(request.sampler, objective.sampling_path(request.start), denoiser, operator, y, key,
                           x.shape, NullSpace(), **told)
    return {"measured": operator.pseudo_inverse(y), "restored": solved.x}


def _edited(objective, request: Request, told, variables, batch, key) -> dict[str, jax.Array]:
    denoiser = objective.denoiser(variables, batch.get("label"), request.guidance)
    path = objective.sampling_path(request.start)
    edited = edit(request.sampler, path, denoiser, batch["x"], request.strength, key, **told)
    return {f"edited by {request.strength:g}": edited.x}


def _interpolated(objective, request: Request, told, variables, batch, key) -> dict[str, jax.Array]:
    """Between each image and the next, by their codes, each with its own class."""
    fractions = np.linspace(0, 1, 7)
    own = objective.denoiser(variables, batch.get("label"))
    following = objective.denoiser(variables, batch["next_label"]) if "label" in batch else None
    path = objective.sampling_path(request.start)
    found = interpolate(path, own, batch["x"], batch["next_x"], fractions, _FLOW, following)
    return {f"{fraction:.0%}": row for fraction, row in zip(fractions, found, strict=True)}


_TASKS = {"edit": _edited, "interpolate": _interpolated}


def _columns(request: Request, run: Trained) -> int:
    """A column a class, or about a square."""
    classes: Sequence[int] = request.classes or range(request.num_classes(run.experiment))
    return min(request.count, len(classes) if len(classes) > 1 else int(np.ceil(request.count**0.5)))


def _cost(request: Request) -> str:
    evaluations = request.sampler.evaluations
    return "" if evaluations is None else f", {evaluations} evaluations each"
