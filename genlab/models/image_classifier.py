"""What image classifiers share: images to features to logits, by a subclass that says how."""

from flax import linen as nn

from genlab.configuration import ConfigError
from genlab.models.layers import Dense


class ImageClassifier(nn.Module):
    """An image classifier: float images [B, I, J, C] to float32 logits [B, num_classes].

    A subclass gives `features` (compact) and `smallest_image_size`. `zero_head` starts the output
    layer, whose parameters are called "head", at zero instead of a normal of standard deviation .01
    (Goyal et al. 2017, arXiv 1706.02677, section 5.1). `dtype` is the type of the computation up to
    the features; parameters, features and logits are float32. Intermediate representations are
    returned by `apply(..., mutable="intermediates")`.
    """

    num_classes: int = 1_000
    image_size: int = 224
    channels: int = 3
    zero_head: bool = False
    dtype: str = "float32"

    @property
    def smallest_image_size(self) -> int:
        """The smallest image side, in pixels, that leaves something to pool."""
        raise NotImplementedError

    def features(self, images_BIJC, train: bool = False):
        """Returns the float32 representation [B, D] that the head reads."""
        raise NotImplementedError

    def validate(self) -> None:
        """Raises ConfigError, in one line, for hyper-parameters that cannot be built."""
        for name in ("num_classes", "channels"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError(f'dtype must be "float32" or "bfloat16", not "{self.dtype}"')
        self._check_size(self.image_size)

    def setup(self):
        """Declares the head; raises ConfigError if the hyper-parameters do not fit together."""
        self.validate()
        init = nn.initializers.zeros if self.zero_head else nn.initializers.normal(0.01)
        self.head = Dense(self.num_classes, use_bias=True, kernel_init=init)

    def __call__(self, images_BIJC, train: bool = False):
        """Returns float32 logits [B, num_classes] for float images [B, I, J, C].

        Raises ConfigError for images of another number of channels, or too small.
        """
        return self.head(self.features(images_BIJC, train))

    def compute_input(self, images_BIJC):
        """Returns the images in the type of the computation; raises ConfigError if they do not fit."""
        if images_BIJC.ndim != 4 or images_BIJC.shape[-1] != self.channels:
            raise ConfigError(
                f"{type(self).__name__} takes images [B, I, J, {self.channels}], not {list(images_BIJC.shape)}: "
                f"set the model's channels or convert the images"
            )
        self._check_size(min(images_BIJC.shape[1:3]))
        return images_BIJC.astype(self.dtype)

    def _check_size(self, size: int) -> None:
        if size < self.smallest_image_size:
            stem = f" with the {self.stem} stem" if hasattr(self, "stem") else ""
            raise ConfigError(
                f"images of {size} pixels are too small for {type(self).__name__}{stem}: "
                f"image_size must be at least {self.smallest_image_size}"
            )
