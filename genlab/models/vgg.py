"""VGG: stages of 3x3 convolutions between 2x2 pools (Simonyan and Zisserman 2014, arXiv 1409.1556)."""

from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.convolutional import Conv, adaptive_mean_pool, max_pool
from genlab.models.image_classifier import ImageClassifier
from genlab.models.mlp import HiddenLayers, check_hidden_layers


class VGG(ImageClassifier):
    """3x3 convolutions, then hidden layers of `hidden_widths`: images [B, I, J, C] to logits.

    `depths` and `widths` are convolutions a stage and their channels; a 2x2 max pool ends each stage.
    The last feature map is pooled to 7x7, so that images of other sizes fit the same hidden layers. No
    norms, as published; He initialisation in place of the paper's growing from a shallower network.
    """

    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden_widths: tuple[int, ...] = (4_096, 4_096)
    dropout: float = 0.5

    @property
    def smallest_image_size(self) -> int:
        """Each stage halves the image."""
        return 2 ** len(self.depths)

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        if not self.depths or len(self.depths) != len(self.widths):
            raise ConfigError(f"a stage has one depth and one width, not depths {self.depths}, widths {self.widths}")
        if min(self.depths + self.widths) < 1:
            raise ConfigError(f"depths and widths must be at least 1, not {self.depths} and {self.widths}")
        check_hidden_layers(self.hidden_widths, self.dropout)
        super().validate()

    @nn.compact
    def features(self, images_BIJC, train: bool = False):
        """Returns the last hidden layer, float32 [B, D]."""
        x_BIJC = self.compute_input(images_BIJC)
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            for i in range(depth):
                x_BIJC = nn.relu(Conv(width, use_bias=True, name=f"stage_{stage}_conv_{i + 1}")(x_BIJC))
            self.sow("intermediates", f"stage_{stage}_BIJC", x_BIJC)
            x_BIJC = max_pool(x_BIJC, 2, 2)
        x_BIJC = adaptive_mean_pool(x_BIJC, 7)
        return HiddenLayers(self.hidden_widths, self.dropout, train, name="hidden_layers")(x_BIJC)


# Named sizes: configurations A, B, D and E of the paper's table 1.
VGG_SIZES: dict[str, VGG] = {
    "11": VGG(depths=(1, 1, 2, 2, 2)),
    "13": VGG(depths=(2, 2, 2, 2, 2)),
    "16": VGG(depths=(2, 2, 3, 3, 3)),
    "19": VGG(depths=(2, 2, 4, 4, 4)),
}
