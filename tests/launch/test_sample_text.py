"""launch.sample on text: attention over a prompt."""

import functools
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from genlab.configuration import ConfigError
from genlab.models.representations import attention_by_layer
from genlab.trained import Trained
from launch.samples.text import draw_attention
from tests.launch import tiny


@pytest.fixture(scope="module")
def fresh():
    experiment = tiny.get_config(8)
    return Trained(experiment, jax.jit(experiment.objective.init)(jax.random.key(0)), 0, SimpleNamespace(), Path())


def test_each_panel_is_one_heads_attention_over_the_tokens(fresh):
    figure, line = draw_attention(fresh, "a b\n")
    assert line == "layers: 1, heads: 2, tokens: 5"
    panels = [axes for axes in figure.axes if axes.get_title().startswith("layer")]
    assert [axes.get_title() for axes in panels] == ["layer 0, head 0", "layer 0, head 1"]
    figure.canvas.draw()
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["start", "a", "␣", "b", "↵"]
    read = jax.jit(functools.partial(attention_by_layer, fresh.experiment.objective.model))
    _, (layer,) = read(fresh.variables, np.array([[0, *b"a b\n"]]))
    for head, axes in enumerate(panels):
        np.testing.assert_allclose(axes.images[0].get_array(), layer[0, head], atol=1e-6)


@pytest.mark.parametrize(("prompt", "message"), [
    ("", "--attention needs a text to look at: give a --prompt"),
    ("x" * 16, "the prompt has 17 tokens, its separator among them, and the model's context holds 16; shorten it"),
])  # fmt: skip
def test_prompts_that_cannot_be_drawn_are_one_line(fresh, prompt, message):
    with pytest.raises(ConfigError, match=message):
        draw_attention(fresh, prompt)
