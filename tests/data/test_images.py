"""Images: what leaves is known beforehand, decided by (seed, step), and what cannot be decoded is counted."""

import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from absl import logging
from PIL import Image

from genlab.configuration import ConfigError, from_json, to_json
from genlab.data import (
    Batches,
    ColorJitter,
    Digits,
    Images,
    InceptionCrop,
    RandAugment,
    RandomCrop,
    RandomFlip,
    Resize,
    TfdsImages,
    sequential_batches,
)
from genlab.data.image_stores import DecodedImages
from tests.data.tfds_files import image_feature, label_feature, tf_example, write_dataset

AUGMENTATION = (RandomCrop(2), RandomFlip(), RandAugment(), InceptionCrop())


def same(first, second):
    assert first.keys() == second.keys()
    return all(np.array_equal(first[name], second[name]) for name in first)


def test_digits():
    splits = Images().load()
    assert len(splits.train) == 1437 and len(splits.held_out) == 360
    everything = [splits.train.gather(np.arange(1437)), splits.held_out.gather(np.arange(360))]
    counts = [np.bincount(part["label"]) for part in everything]
    share = counts[1] / (counts[0] + counts[1])
    assert len(share) == 10 and (np.abs(share - 360 / 1797) * 180 <= 1.01).all()
    images = np.concatenate([part["image"] for part in everything])
    assert images.shape == (1797, 8, 8, 1) and images.dtype == np.uint8
    assert np.unique(images).tolist() == np.rint(np.arange(17) * 255 / 16).tolist()
    from sklearn.datasets import load_digits

    assert np.array_equal(np.sort(images.sum((1, 2, 3))), np.sort(np.rint(load_digits().images * 255 / 16).sum((1, 2))))
    example = splits.train[3]
    assert example["image"].shape == (8, 8, 1) and example["label"].shape == () and example["label"].dtype == np.int32
    description = json.loads(json.dumps(dict(splits.description)))
    assert description["num_classes"] == 10 and description["image_shape"] == [8, 8, 1]
    assert description["train_examples"] == 1437 and description["held_out_corrupt_images"] == 0


def test_what_leaves_is_known_beforehand():
    for config, shape in [(Images(), (8, 8, 1)), (Images(image_size=12, augmentation=AUGMENTATION), (12, 12, 1)),
                          (Images(augmentation=(Resize(11), RandomCrop(0, 8))), (8, 8, 1)),
                          (Images(central_fraction=0.5), (8, 8, 1))]:  # fmt: skip
        assert config.image_shape == shape and config.num_classes == 10 and config.tokens_per_example is None
        splits = config.load()
        assert Batches(splits.train, 5, seed=0)[0]["image"].shape == (5, *shape)
        assert splits.held_out.gather(np.arange(4))["image"].shape == (4, *shape)
        assert from_json(to_json(config)) == config


@pytest.mark.parametrize("views", [1, 3])
def test_batches_are_those_of_any_hosts_and_of_any_start(views):
    config = Images(augmentation=AUGMENTATION, views=views)
    train = config.load().train
    whole = Batches(train, 96, seed=5)
    batches = whole.stack(10, 14)  # 384 rows
    assert batches["image"].shape == (4, 96, *([3] if views > 1 else []), 8, 8, 1)
    parts = [Batches(train, 96, 5, rows=rows).stack(10, 14) for rows in np.split(np.arange(96), 2)]
    assert same({name: np.concatenate([part[name] for part in parts], axis=1) for name in batches}, batches)
    assert same(Batches(config.load().train, 96, seed=5)[12], {name: array[2] for name, array in batches.items()})
    assert not np.array_equal(Batches(train, 96, seed=6)[12]["image"], batches["image"][2])


def test_rows_do_not_depend_on_the_block_they_are_made_in(monkeypatch):
    train = Images(augmentation=AUGMENTATION).load().train
    whole = Batches(train, 64, seed=0).stack(0, 2)
    monkeypatch.setattr("genlab.data.images.BLOCK_BYTES", 5 * 64)
    assert same(Batches(train, 64, seed=0).stack(0, 2), whole)


def test_each_epoch_and_view_has_augmentations_of_its_own():
    train = Images(augmentation=(RandomCrop(2), RandomFlip()), views=2, max_examples=1).load().train
    images = Batches(train, 1, seed=0).stack(0, 400)["image"].reshape(400, 2, -1)
    kinds = len(np.unique(images.reshape(800, -1), axis=0))
    assert 40 <= kinds <= 50  # 25 places, 2 sides; some show the same
    assert 5 <= (images[:, 0] == images[:, 1]).all(-1).sum() <= 40  # 1 in 50 or a few more


def test_a_transform_keeps_its_draws_when_others_come():
    alone = Batches(Images(augmentation=(RandomFlip(),)).load().train, 64, seed=0)[3]["image"]
    crop_between = (RandomCrop(0, 8), ColorJitter(0.0), RandomFlip())
    assert np.array_equal(Batches(Images(augmentation=crop_between).load().train, 64, seed=0)[3]["image"], alone)
    twice = Batches(Images(augmentation=(RandomFlip(), RandomFlip())).load().train, 64, seed=0)[3]["image"]
    plain = Batches(Images().load().train, 64, seed=0)[3]["image"]
    assert not np.array_equal(twice, plain)  # the second flips others than the first


def test_evaluation_sees_no_augmentation_unless_it_asks():
    splits, plain = Images(augmentation=AUGMENTATION, views=2).load(), Images().load()
    for split in ("train", "held_out"):
        ours, theirs = (sequential_batches(getattr(each, split), 128, 200) for each in (splits, plain))
        assert all(same(a, b) for a, b in zip(ours, theirs, strict=True))
    first, again = (list(sequential_batches(splits.held_out, 128, 200, augment_seed=3)) for _ in range(2))
    assert first[0]["image"].shape == (128, 2, 8, 8, 1) and all(map(same, first, again))
    rows = np.split(np.arange(128), 2)
    halves = [next(sequential_batches(splits.held_out, 128, 200, its, augment_seed=3)) for its in rows]
    assert np.array_equal(np.concatenate([half["image"] for half in halves]), first[0]["image"])


@dataclasses.dataclass(frozen=True)
class ByClass:
    """A source whose examples come class by class."""

    image_shape = (2, 2, 1)
    class_names = tuple("0123456789")

    def load(self, split):
        return DecodedImages(np.zeros((1000, 2, 2, 1), np.uint8), np.arange(1000, dtype=np.int32) // 100)

    def describe(self):
        return {}


def test_fewer_examples_are_of_all_classes():
    train = Images(ByClass(), max_examples=200).load().train
    counts = np.bincount(train.gather(np.arange(200))["label"], minlength=10)
    assert (np.abs(counts - 20) < 15).all()


def test_fewer_examples_are_a_part_of_more():
    few, more = (Images(max_examples=n, max_held_out_examples=10).load() for n in (50, 200))
    assert len(few.train) == few.description["train_examples"] == 50 and len(few.held_out) == 10
    assert same(few.train.gather(np.arange(50)), more.train.gather(np.arange(50)))
    hashes = {each.description["data_hash"] for each in (few, more, Images().load())}
    assert len(hashes) == 3 and Images(views=2).load().description["data_hash"] in hashes


def encoded(image, file_format="PNG"):
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, file_format)
    return file.getvalue()


def pictures(count, height=6, width=6, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """squares: 6 x 6 with two that are broken; sizes: many sizes, a grey one among them, two broken."""
    folder = tmp_path_factory.mktemp("tfds")
    squares = [encoded(image) for image in pictures(9)]
    squares[2], squares[5] = squares[2][:60], b"no image"
    rows = [tf_example(image=file, label=number % 3) for number, file in enumerate(squares)]
    one_size = {"image": image_feature(6, 6, 3), "label": label_feature(3)}
    write_dataset(folder, "squares", one_size, {"train": rows, "test": rows[:2]})
    write_dataset(folder, "hidden", one_size, {"train": rows, "test": [tf_example(image=squares[0], label=-1)]})
    broken = [tf_example(image=b"no image", label=0)]
    write_dataset(folder, "rubble", one_size, {"train": broken, "test": broken})
    many = [encoded(pictures(1, 9 + i, 20 - i, 1 if i == 4 else 3)[0], "JPEG") for i in range(8)]
    many[2], many[6] = b"", many[6][:300]
    rows = [tf_example(image=file, label=number % 4) for number, file in enumerate(many)]
    sizes = {"image": image_feature(None, None, 3), "label": label_feature(4)}
    write_dataset(folder, "sizes", sizes, {"train": rows, "test": rows[:4]})
    rows = [tf_example(image=file) for file in squares]
    write_dataset(folder, "unlabelled", {"image": one_size["image"]}, {"train": rows, "test": rows[:2]})
    return str(folder)


@pytest.fixture
def warnings(monkeypatch):
    told = []
    monkeypatch.setattr(logging, "warning", lambda message, *values: told.append(message % values))
    return told


def test_one_size_is_decoded_once_and_what_is_corrupt_left_out(data_dir, warnings, own_cache, monkeypatch):
    config = Images(TfdsImages("squares", data_dir=data_dir))
    assert config.image_shape == (6, 6, 3) and config.num_classes == 3
    splits = config.load()
    good = [0, 1, 3, 4, 6, 7, 8]
    found = splits.train.gather(np.arange(7))
    assert np.array_equal(found["image"], pictures(9)[good]) and found["label"].tolist() == [n % 3 for n in good]
    facts = splits.description
    assert (facts["train_examples"], facts["train_corrupt_images"], facts["held_out_corrupt_images"]) == (7, 2, 0)
    assert facts["tfds_name"] == "squares/1.0.0"
    assert warnings == ["TFDS squares, split 'train': 2 of 9 images cannot be decoded and are left out, "
                        "the first that of example 2"]  # fmt: skip
    monkeypatch.setattr("genlab.data.image_sources.write_decoded", None)
    again = config.load()
    assert dict(again.description) == dict(facts) and same(again.train.gather(np.arange(7)), found)


def test_many_sizes_are_decoded_on_access_and_the_next_stands_in(data_dir, warnings):
    config = Images(TfdsImages("sizes", data_dir=data_dir), image_size=8, augmentation=(InceptionCrop(), RandomFlip()))
    assert config.image_shape == (8, 8, 3)
    splits = config.load()
    assert splits.description["train_corrupt_images"] == 0
    found = splits.train.gather(np.arange(8))
    assert found["image"].shape == (8, 8, 8, 3) and found["label"].tolist() == [0, 1, 3, 3, 0, 1, 3, 3]
    assert np.array_equal(found["image"][6], found["image"][7])
    assert (found["image"][4] == found["image"][4, ..., :1]).all()  # the grey one, in three channels
    first = Image.open(io.BytesIO(encoded(pictures(1, 9, 20)[0], "JPEG")))
    centre = first.resize((8, 8), Image.Resampling.BILINEAR, (5.5, 0, 14.5, 9))
    assert np.array_equal(found["image"][0], np.asarray(centre))
    batches = Batches(splits.train, 8, seed=0)
    stack = batches.stack(0, 20)
    assert same(batches[17], {name: array[17] for name, array in stack.items()})
    assert splits.description["train_corrupt_images"] == 2
    assert len(warnings) == 1 and "split 'train': the image of example 2 cannot be decoded" in warnings[0]


def test_large_datasets_are_decoded_on_access_to_the_same_images(data_dir, monkeypatch):
    config = Images(TfdsImages("squares", data_dir=data_dir), augmentation=(RandomCrop(1), RandomFlip()), views=2)
    once = config.load().held_out
    monkeypatch.setattr("genlab.data.image_sources.DECODE_ONCE_BYTES", 0)
    on_access = config.load().held_out
    assert type(on_access.store).__name__ == "EncodedImages"
    indices, keys = np.array([1, 0, 1]), np.arange(3, dtype=np.uint64)
    assert same(on_access.gather(indices), once.gather(indices))
    assert same(on_access.gather_keyed(indices, keys), once.gather_keyed(indices, keys))


def test_nothing_but_corrupt_images(data_dir, monkeypatch):
    source = TfdsImages("rubble", data_dir=data_dir)
    with pytest.raises(ConfigError, match="rubble, split 'train': none of 1 images can be decoded to 6 x 6 x 3"):
        Images(source).load()
    monkeypatch.setattr("genlab.data.image_sources.DECODE_ONCE_BYTES", 0)
    with pytest.raises(ConfigError, match="100 images in a row before example 0 cannot be decoded"):
        Images(source).load().train.gather(np.arange(1))


def test_training_without_labels(data_dir):
    config = Images(TfdsImages("unlabelled", data_dir=data_dir, label_feature=None))
    assert config.num_classes == 0
    assert set(Batches(config.load().train, 4, seed=0)[0]) == {"image"}
    unused = Images(TfdsImages("squares", data_dir=data_dir, label_feature=None)).load().train
    assert set(unused.gather(np.arange(2))) == {"image"}


@pytest.mark.parametrize(("config", "message"), [
    ({"image_size": 0}, "image_size 0 must be at least 1"),
    ({"views": 0}, "views 0 must be at least 1"),
    ({"central_fraction": 0.0}, "central_fraction 0.0 must be above 0"),
    ({"max_examples": 1438}, "max_examples 1438 is more than the 1437 examples"),
    ({"augmentation": (Resize(12),)}, "augmentation makes images of 12 x 12 x 1, but those that leave are 8 x 8 x 1"),
    ({"augmentation": (RandomCrop(1, 30),)}, "size 30 is larger than the padded image's 10"),
    ({"source": TfdsImages("unlabelled")}, "TFDS unlabelled has no class labels 'label': it has none; set label_feat"),
    ({"source": TfdsImages("squares", label_feature="labels")}, "no class labels 'labels': it has label; or set"),
    ({"source": TfdsImages("squares", image_feature="picture")}, "squares has no feature 'picture'; it has image, lab"),
    ({"source": TfdsImages("squares", image_feature="label")}, "feature 'label' is ClassLabel.*, no image of uint8"),
    ({"source": TfdsImages("squares", "trian")}, "squares has no split 'trian'; it has train, test"),
    ({"source": TfdsImages("hidden")}, "hidden, split 'test': label -1 is outside 0 .. 2; take a split with labels"),
    ({"source": TfdsImages("sizes")}, "have many sizes; set image_size"),
    ({"source": TfdsImages("no_such_pictures")}, "'no_such_pictures' is not found"),
])  # fmt: skip
def test_bad_input_is_one_line(data_dir, config, message):
    if "source" in config:
        config = {"source": dataclasses.replace(config["source"], data_dir=data_dir)}
    with pytest.raises(ConfigError, match=message) as caught:
        Images(**config).load()
    assert "\n" not in str(caught.value)


def test_digits_is_the_default_source():
    assert Images().source == Digits()


def test_tensorflow_is_not_imported(data_dir):
    program = f"""
import sys
from genlab.data import Batches, Images, RandomFlip, TfdsImages
Images().load()
assert "tensorflow_datasets" not in sys.modules, "0.9 s for those who use no TFDS"
splits = Images(TfdsImages("squares", data_dir={data_dir!r}), augmentation=(RandomFlip(),)).load()
assert Batches(splits.train, 7, seed=0)[0]["image"].shape == (7, 6, 6, 3)
assert not {{"tensorflow", "torch"}} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
