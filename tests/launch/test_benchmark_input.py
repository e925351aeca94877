"""launch.benchmark input on a few images and a small model."""

import io

import jax
from rich.console import Console

from genlab.models.vit import vit
from launch.benchmarks import input as input_pipeline


def test_input_is_measured_beside_the_step(monkeypatch):
    monkeypatch.setattr(input_pipeline, "STEPS_PER_DISPATCH", 1)
    small = {"width": 16, "depth": 1, "num_heads": 1, "mlp_width": 16}
    monkeypatch.setattr(input_pipeline, "vit", lambda name, **fields: vit(name, **small, **fields))
    screen = io.StringIO()
    results, good = input_pipeline.run("Ti/16", 1, 0.0, Console(file=screen, width=120))
    assert [row["name"] for row in results["pipelines"]] == list(input_pipeline.PIPELINES)
    assert all(row["one_thread"] > 0 and row["all_threads"] > 0 for row in results["pipelines"])
    consumed = results["step"]["images_per_second"]
    assert good == (results["pipelines"][0]["all_threads"] >= 2 * consumed > 0)
    text = screen.getvalue()
    assert "JPEG to 224 x 224" in text and f"ViT-Ti/16 on 32 x 32, {jax.devices()[0].device_kind}" in text


def test_the_made_up_files_are_as_large_as_imagenets():
    train = input_pipeline.PIPELINES["JPEG to 224 x 224: crop, flip"].load().train
    assert train.gather(range(3))["image"].shape == (3, 224, 224, 3)
    sizes = [len(content) for content, _ in train.store.records.__getitems__(range(16))]
    assert 60_000 < sum(sizes) / 16 < 180_000  # 138 GB, 1.28 million files: 108 kB
