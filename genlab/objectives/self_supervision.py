"""What self-supervised objectives on images share: no labels, and an encoder that others take over."""

import dataclasses
from typing import Any, ClassVar

import jax

from genlab.configuration import ConfigError
from genlab.objectives.image_model import ImageObjective


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfSupervision(ImageObjective):
    """An objective of a model with an `encoder`, an image model, and `features`, what the encoder makes of images."""

    views: ClassVar[int] = 1  # that the data must make of each training image

    def check_data(self, data: Any) -> None:
        """Raises ConfigError, in one line, for data that this model cannot read; labels are not needed."""
        super().check_data(data)
        if getattr(data, "views", 1) != self.views:
            raise ConfigError(f"{type(self).__name__} takes {self.views} view{'s' * (self.views > 1)} of an image, but "
                              f"data.views={data.views}")

    def dummy_batch(self, batch_size: int, data: Any = None) -> dict:
        """Returns the shapes of a training batch: "image" [B, I, J, C], or [B, V, I, J, C] of several views."""
        image = super().dummy_batch(batch_size, data)["image"]
        views = (self.views,) if self.views > 1 else ()
        return {"image": jax.ShapeDtypeStruct((batch_size, *views, *image.shape[1:]), image.dtype)}

    def outputs(self, variables, batch) -> dict[str, jax.Array]:
        """Returns what evaluations read: the encoder's "features" [B, D] of images [B, I, J, C]."""
        return {"features": self.model.apply(variables, self.pixels.normalize(batch["image"]), method="features")}

    def trunk(self, variables) -> tuple[Any, dict]:
        """Returns (the encoder, its variables): what another objective takes over."""
        taken = {name: collection["encoder"] for name, collection in variables.items() if "encoder" in collection}
        return self.model.encoder, taken
