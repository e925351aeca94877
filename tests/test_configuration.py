import dataclasses
from typing import Literal

import pytest
from flax import linen as nn

from genlab.configuration import ConfigError, config_hash, differences, from_json, override, to_json


class Module(nn.Module):
    width: int = 3
    kind: Literal["gelu", "swiglu"] = "gelu"
    heads: int | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    model: Module = Module()
    rate: float = 0.1
    sizes: tuple[int, ...] = (1, 2)
    on: bool = False
    name: str = "a"
    table: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self):
        if self.rate < 0:
            raise ConfigError("rate is negative; take 0 or more")


@pytest.mark.parametrize("path, text, value", [
    ("model.width", "8", 8), ("model.width", "1e3", 1000), ("model.heads", "2", 2), ("model.heads", "none", None),
    ("model.kind", "swiglu", "swiglu"), ("rate", "3e-4", 3e-4), ("sizes", "3,4,5", (3, 4, 5)), ("on", "true", True),
    ("name", "b=c", "b=c"),
])
def test_override_reads_by_annotation(path, text, value):
    changed = override(Config(), path, text)
    for name in path.split("."):
        changed = getattr(changed, name)
    assert changed == value


@pytest.mark.parametrize("path, text, message", [
    ("model.widht", "8", "model (Module) has no field 'widht'; did you mean width?"),
    ("rte", "8", "Config has no field 'rte'; did you mean rate?"),
    ("model.width", "8.5", "model.width=8.5 has the wrong type; it takes a whole number"),
    ("rate", "fast", "rate=fast has the wrong type; it takes a number"),
    ("on", "maybe", "on=maybe has the wrong type; it takes true or false"),
    ("model.kind", "swigl", "model.kind=swigl is not a choice; did you mean swiglu?"),
    ("model", "8", "model cannot be set from a command line; set one of its fields"),
    ("table", "a,b", "table is a table and cannot be set from a command line; set it in the config file"),
    ("rate.x", "8", "rate is 0.1, which has no fields; there is no rate.x"),
    ("rate", "-1", "rate is negative; take 0 or more"),
])
def test_a_wrong_override_is_one_line_that_says_what_is_right(path, text, message):
    with pytest.raises(ConfigError) as error:
        override(Config(), path, text)
    assert str(error.value) == message


def test_json_round_trip_and_hash():
    from genlab.experiment import Experiment
    from genlab.models.gpt import GPT
    from genlab.objectives.next_token import NextToken

    experiment = Experiment(objective=NextToken(model=GPT(width=8)), data=None, name="x")
    assert from_json(to_json(experiment)) == experiment
    assert config_hash(experiment) != config_hash(dataclasses.replace(experiment, seed=1))
    assert from_json({"class": "genlab.models.gpt:GPT"}) == GPT()


def test_a_saved_config_of_another_version_is_refused():
    with pytest.raises(ConfigError, match="has no genlab.models.gpt:GPT9"):
        from_json({"class": "genlab.models.gpt:GPT9"})
    with pytest.raises(ConfigError, match="GPT of this genlab has no field 'depht'"):
        from_json({"class": "genlab.models.gpt:GPT", "depht": 2})


def test_differences_name_the_leaves():
    old, new = to_json(Config()), to_json(Config(model=Module(width=5), sizes=(1, 3)))
    assert list(differences(old, new)) == ["model.width: 3 -> 5", "sizes[1]: 2 -> 3"]
