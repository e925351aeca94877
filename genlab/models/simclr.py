"""SimCLR: an image model and a projection head, for contrasting views of images (Chen et al. 2020)."""

from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.layers import Dense, Norm


class SimCLR(nn.Module):
    """Images [B, I, J, C] to projections z [B, projection_width], on which the contrastive loss works.

    z = W2 relu(norm(W1 h)) of the encoder's features h (arXiv 2002.05709, section 4.2), where the norm is
    a LayerNorm and not the BatchNorm of the released code: no statistics of the batch tell views apart.
    `encoder` is any image model with `features`, such as a ViT or a ResNet; its parameters are those of
    the model without its head, under "encoder". What is kept after training is the encoder.
    """

    encoder: nn.Module
    projection_width: int = 128

    @property
    def image_size(self) -> int:
        """Side of the images, in pixels."""
        return self.encoder.image_size

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self.encoder.channels

    @property
    def dtype(self) -> str:
        """The type of the encoder's computation."""
        return self.encoder.dtype

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        self.encoder.validate()
        if self.projection_width < 1:
            raise ConfigError(f"projection_width must be at least 1, not {self.projection_width}")

    @nn.compact
    def __call__(self, images_BIJC, train: bool = False):
        """Returns the projections z, float32 [B, projection_width], of float images [B, I, J, C]."""
        self.validate()
        h_BD = self.encoder.features(images_BIJC, train)
        z_BD = Dense(h_BD.shape[-1], use_bias=True, name="projection_hidden")(h_BD)
        z_BD = nn.relu(Norm(use_bias=True, name="projection_norm")(z_BD))
        return Dense(self.projection_width, name="projection")(z_BD)

    def features(self, images_BIJC, train: bool = False):
        """Returns the encoder's representation, float32 [B, D]: what is used after training."""
        return self.encoder.features(images_BIJC, train)
