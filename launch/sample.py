"""Samples from a run: text that continues a prompt, images out of noise, or what it makes of held-out images.

    python -m launch.sample --workdir=runs/gpt --prompt="def main(" --temperature=0.7
    python -m launch.sample --workdir=runs/gpt --prompt="the cat sat. the cat" --attention --output=attention.png
    python -m launch.sample --workdir=runs/vit --images=12 --attention
    python -m launch.sample --workdir=runs/digits --images=100 --guidance=2 --sampler=dpm_solver --steps=20
    python -m launch.sample --workdir=runs/digits --images=64 --sampler=euler_maruyama --output=way.gif
    python -m launch.sample --workdir=runs/digits --images=12 --task=inpaint

Of diffusion models a picture of samples (.png), an animation of their way from noise (.gif), or arrays (.npz: "sample",
"label", "settings"); of points, a figure of their trajectories. --task restores held-out images that lack their middle
(inpaint), were averaged over 2 x 2 pixels (super_resolution) or lost their colours (colourise), goes from each to the
next by way of their codes (interpolate), or noises them part of the way and back (edit, as far as --strength).
A classifier that guides (--classifier) does so where sigma / alpha <= 3: with more noise large scales blew up.
--start is the time that samples end at, by default the experiment's (DDPM++ ends at 1e-3 and is trained from 1e-5).

Of text with --attention, in place of a continuation, where each token of the prompt looks in every head of every layer.
Of classifiers the class that was read, its probability and, where that is wrong, the right one; with --attention, of
ViTs, how much each patch was looked at (attention rollout). Of masked autoencoders the image, what was seen of it and
what was filled in.
"""

from pathlib import Path

from absl import flags
from rich.console import Console

from genlab.configuration import ConfigError
from genlab.sweeps.placement import devices_of_cores
from genlab.sweeps.progress import Bar
from genlab.trained import load_experiment, load_run
from genlab.training.program import enable_compilation_cache
from launch import flags as command
from launch.samples.diffusion import TASKS
from launch.samples.samplers import SAMPLERS, named_sampler

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed gives another text, or other images.")

_PROMPT = flags.DEFINE_multi_string("prompt", [""], "Text to continue; give it again for more prompts at once.")
_TOKENS = flags.DEFINE_integer("tokens", None, "Most new tokens of a continuation; by default 128, or what the "
                               "model's context holds beside the prompt.", lower_bound=1)
_TEMPERATURE = flags.DEFINE_float("temperature", 0.8, "0 takes the most likely token.", lower_bound=0.0)
_TOP_K = flags.DEFINE_integer("top_k", 0, "Sample among so many most likely tokens; 0 for all.", lower_bound=0)
_TOP_P = flags.DEFINE_float("top_p", 1.0, "Sample among the tokens that hold this much of the probability.",
                            lower_bound=0.0, upper_bound=1.0)
_SAMPLES = flags.DEFINE_integer("samples", 1, "Continuations of each prompt.", lower_bound=1)

_IMAGES = flags.DEFINE_integer("images", 16, "Held-out images to draw, or samples to make.", lower_bound=1)
_ATTENTION = flags.DEFINE_bool("attention", False, "Draw beside each image where the model looked; of text, every "
                               "head's attention over the prompt.")
_OUTPUT = flags.DEFINE_string("output", None, "The picture to write; by default sample.png (of attention to text, "
                              "attention.png) in the run's folder.")

_SAMPLER = flags.DEFINE_enum("sampler", None, list(SAMPLERS), "Of a diffusion model; by default dpm_solver, and to "
                             "restore images ancestral, in 100 steps.")
_STEPS = flags.DEFINE_integer("steps", None, "Of the sampler; by default its own number.", lower_bound=1)
_START = flags.DEFINE_float("start", None, "The time that samples end at, from the smallest that was trained; by "
                            "default the experiment's.")
_GUIDANCE = flags.DEFINE_float("guidance", 1.0, "Scale of classifier-free guidance; 1 for none.", lower_bound=0.0)
_CLASSIFIER = flags.DEFINE_string("classifier", None, "Folder of a classifier's run that guides samples to --classes.")
_CLASSIFIER_SCALE = flags.DEFINE_float("classifier_scale", 1.0, "Scale of that guidance.", lower_bound=0.0)
_CLASSES = flags.DEFINE_list("classes", [], "Numbers of the classes to make, in turn; all by default.")
_TASK = flags.DEFINE_enum("task", "generate", TASKS, "What a diffusion model is to do.")
_STRENGTH = flags.DEFINE_float("strength", 0.5, "Of an edit: 1 keeps nothing of the image.")
_CHUNK = flags.DEFINE_integer("chunk", 64, "Samples, or images of a task, at a time, as memory allows.", lower_bound=1)

_TEXT_FLAGS = ("prompt", "tokens", "temperature", "top_k", "top_p", "samples")
_IMAGE_FLAGS = ("images", "output")
_MOST_IMAGES = 256
_DIFFUSION_FLAGS = ("sampler", "steps", "start", "guidance", "classes", "task", "strength", "chunk", "classifier",
                    "classifier_scale")
# What a task does not read: held-out images have classes of their own, and codes are by the ODE alone.
_OF_SAMPLES = ("classes", "classifier", "classifier_scale")
_UNREAD = {"generate": ("strength",), "edit": _OF_SAMPLES,
           "interpolate": (*_OF_SAMPLES, "strength", "sampler", "steps", "guidance")}


def main() -> int:
    """Prints texts, or writes a picture and says where."""
    enable_compilation_cache()
    devices_of_cores()
    experiment = load_experiment(_WORKDIR.value)
    objective, data = experiment.objective, experiment.data
    if hasattr(objective, "generate") and hasattr(data, "load_tokenizer"):
        _refuse(("images", *_DIFFUSION_FLAGS), "a run on text")
        if _ATTENTION.value:
            _refuse(_TEXT_FLAGS[1:], "--attention, which writes no text")
            _write_attention(load_run(_WORKDIR.value))
        else:
            _refuse(("output",), "text, which is printed")
            _print_texts(load_run(_WORKDIR.value))
    elif hasattr(objective, "check_guidance"):
        _refuse((*_TEXT_FLAGS, "attention"), "a run on diffusion")
        _make_samples(experiment)
    elif hasattr(data, "image_shape"):
        _refuse((*_TEXT_FLAGS, *_DIFFUSION_FLAGS), "a run on images")
        _write_picture(load_run(_WORKDIR.value))
    else:
        raise ConfigError(f"{_WORKDIR.value} holds a run of {type(objective).__name__} on {type(data).__name__}, "
                          "which makes neither text nor pictures")
    return 0


def _print_texts(run) -> None:
    from launch.samples.text import continuations

    prompts = [prompt for prompt in _PROMPT.value for _ in range(_SAMPLES.value)]
    texts = continuations(run, prompts, _TOKENS.value, temperature=_TEMPERATURE.value, top_k=_TOP_K.value,
                          top_p=_TOP_P.value, seed=_SEED.value)
    print(f"\n{'-' * 80}\n".join(texts))


def _write_attention(run) -> None:
    from launch.samples.text import draw_attention

    if len(_PROMPT.value) > 1:
        raise ConfigError("--attention draws one --prompt at a time")
    path = _picture_path(run, "attention.png")
    _save(*draw_attention(run, _PROMPT.value[0]), path)


def _write_picture(run) -> None:
    from launch.samples.images import draw

    if _IMAGES.value > _MOST_IMAGES:
        raise ConfigError(f"--images={_IMAGES.value}: a picture of held-out images holds at most {_MOST_IMAGES}")
    path = _picture_path(run, "sample.png")
    _save(*draw(run, _IMAGES.value, _SEED.value, _ATTENTION.value), path)


def _picture_path(run, default: str) -> Path:
    path = Path(_OUTPUT.value or run.folder / default)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--output={path} must end in .png, .svg or .pdf")
    return path


def _save(figure, said: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)
    print(f"{said}; {path}")


def _make_samples(experiment) -> None:
    from launch.samples.diffusion import Request, make

    _refuse(_UNREAD.get(_TASK.value, (*_OF_SAMPLES, "strength")), f"--task={_TASK.value}")
    if not _CLASSIFIER.value:
        _refuse(("classifier_scale",), "samples without --classifier")
    try:
        classes = tuple(int(name) for name in _CLASSES.value)
    except ValueError:
        raise ConfigError(f"--classes={','.join(_CLASSES.value)} must be numbers, as 3,5") from None
    restores = _TASK.value in ("inpaint", "super_resolution", "colourise")
    sampler = named_sampler(_SAMPLER.value or ("ancestral" if restores else "dpm_solver"),
                            _STEPS.value or (100 if restores and not _SAMPLER.value else None))
    request = Request(sampler, _IMAGES.value, _GUIDANCE.value, classes, _TASK.value, _STRENGTH.value, _CHUNK.value,
                      _SEED.value, load_run(_CLASSIFIER.value) if _CLASSIFIER.value else None, _CLASSIFIER_SCALE.value,
                      _START.value)
    path = Path(_OUTPUT.value or Path(_WORKDIR.value) / "sample.png")
    request.check(experiment, path)
    run = load_run(_WORKDIR.value)
    with Bar(Console(stderr=True), transient=True) as bar:
        said = make(run, request, path, lambda done, count: bar.due() and bar.show(done, count, "samples"))
    print(f"{said}; {path}")


def _refuse(names: tuple[str, ...], what: str) -> None:
    for name in names:
        if flags.FLAGS[name].present:
            raise ConfigError(f"--{name} does not go with {what}")


if __name__ == "__main__":
    command.run(main)
