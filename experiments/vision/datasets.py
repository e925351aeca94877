"""The datasets of the vision experiments, each with the augmentation that its recipes share.

digits needs nothing; the TFDS datasets must be prepared (README, "Data"), cifar10 by

    tfds build cifar10 --file_format=array_record

and are looked for in ~/tensorflow_datasets, in the folder that the variable TFDS_DATA_DIR names, or in
--config.data.source.data_dir=FOLDER.
"""

from genlab.configuration import ConfigError
from genlab.data import Digits, Images, InceptionCrop, RandomCrop, RandomFlip, TfdsImages

DIGITS = Images(source=Digits(), augmentation=(RandomCrop(padding=1),))
CIFAR10 = Images(source=TfdsImages("cifar10"), augmentation=(RandomCrop(padding=4, fill="reflection"), RandomFlip()))
IMAGENET = Images(source=TfdsImages("imagenet2012", held_out_split="validation"), image_size=224,
                  central_fraction=0.875, augmentation=(InceptionCrop(area=(0.05, 1.0)), RandomFlip()))
DATASETS = {"digits": DIGITS, "cifar10": CIFAR10, "imagenet": IMAGENET}


def parse(argument: str, datasets: tuple[str, ...]) -> tuple[str, str]:
    """(dataset, size) of an argument DATASET or DATASET,SIZE.

    Raises:
      ConfigError: a dataset that is not among `datasets`.
    """
    dataset, _, size = argument.partition(",")
    if dataset not in datasets:
        raise ConfigError(f"there is no dataset {dataset!r} here; there are: {', '.join(datasets)}")
    return dataset, size


def fields(dataset: str) -> dict:
    """What a model must know of the images: num_classes, image_size, channels."""
    return {"digits": {"num_classes": 10, "image_size": 8, "channels": 1},
            "cifar10": {"num_classes": 10, "image_size": 32, "channels": 3},
            "imagenet": {"num_classes": 1_000, "image_size": 224, "channels": 3}}[dataset]
