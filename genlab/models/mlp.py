"""A multi-layer perceptron on pixels, the baseline that knows nothing of images."""

from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models import ops
from genlab.models.convolutional import HE_FAN_IN
from genlab.models.image_classifier import ImageClassifier
from genlab.models.layers import Dense


class MLP(ImageClassifier):
    """Flattened pixels through hidden layers of `widths` ReLUs, with `dropout` after each, to logits."""

    widths: tuple[int, ...] = (512, 512)
    dropout: float = 0.0

    @property
    def smallest_image_size(self) -> int:
        """One pixel."""
        return 1

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        check_hidden_layers(self.widths, self.dropout)
        super().validate()

    @nn.compact
    def features(self, images_BIJC, train: bool = False):
        """Returns the last hidden layer, float32 [B, D]; raises ConfigError unless I = J = image_size."""
        x_BIJC = self.compute_input(images_BIJC)
        if x_BIJC.shape[1:3] != (self.image_size, self.image_size):
            size = self.image_size
            raise ConfigError(f"an MLP of image_size {size} cannot read images of {x_BIJC.shape[1:3]} pixels")
        return HiddenLayers(self.widths, self.dropout, train, name="hidden_layers")(x_BIJC)


class HiddenLayers(nn.Module):
    """Linear layers of `widths`, each with ReLU and dropout, on flattened feature maps."""

    widths: tuple[int, ...]
    dropout: float
    train: bool

    @nn.compact
    def __call__(self, x_BIJC):
        """Returns float32 [B, widths[-1]]."""
        x_BD = x_BIJC.reshape(x_BIJC.shape[0], -1)
        for i, width in enumerate(self.widths, start=1):
            x_BD = nn.relu(Dense(width, use_bias=True, kernel_init=HE_FAN_IN, name=f"layer_{i}")(x_BD))
            self.sow("intermediates", f"layer_{i}_BD", x_BD)
            if self.train and self.dropout:
                x_BD = ops.dropout(x_BD, self.dropout, self.make_rng("dropout"))
        return x_BD.astype("float32")


def check_hidden_layers(widths: tuple[int, ...], dropout: float) -> None:
    """Raises ConfigError for hidden layers that cannot be built."""
    if min(widths, default=0) < 1:
        raise ConfigError(f"there must be at least one hidden layer of at least 1 unit, not widths {widths}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), not {dropout}")
