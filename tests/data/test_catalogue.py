"""The data sets, read from tiny files in each one's own format."""

import gzip
import hashlib
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision
from PIL import Image

from fedsyn.config import Dataset
from fedsyn.data.catalogue import SOURCES, DatasetError, data_folders, fingerprint, load, locate

TRAIN, TEST = 6, 4
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def pictures(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


# --- the formats, as their makers define them ---


def write_idx(root: Path, packed: bool) -> tuple[np.ndarray, np.ndarray]:
    """http://yann.lecun.com/exdb/mnist: big-endian magic number (type, dimensions), sizes, bytes."""
    images, labels = pictures(0, TRAIN + TEST, 28, 28), np.arange(TRAIN + TEST, dtype=np.uint8)
    splits = (("train", slice(0, TRAIN)), ("t10k", slice(TRAIN, None)))
    for split, rows in splits:
        for name, values in (
            (f"{split}-images-idx3-ubyte", images[rows]),
            (f"{split}-labels-idx1-ubyte", labels[rows]),
        ):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            content = header + values.tobytes()
            if packed:
                (root / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (root / name).write_bytes(content)
    return images[..., None], labels


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """https://www.cs.toronto.edu/~kriz/cifar.html: rows of 3,072 bytes, 1,024 red, then green, then blue."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    images, labels = pictures(1, TRAIN + TEST, 32, 32, 3), np.arange(TRAIN + TEST)
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    parts = {"data_batch_1": slice(0, 4), "data_batch_2": slice(4, TRAIN), "test_batch": slice(TRAIN, None)}
    for name, part in parts.items():
        (folder / name).write_bytes(pickle.dumps({"data": rows[part], "labels": labels[part].tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name {number}" for number in range(10)]}))
    accept(monkeypatch, torchvision.datasets.CIFAR10, folder, ["data_batch_1", "data_batch_2"], ["test_batch"])
    return images, labels


def write_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    folder = root / "cifar-100-python"
    folder.mkdir()
    images, labels = pictures(2, TRAIN + TEST, 32, 32, 3), np.arange(90, 90 + TRAIN + TEST)
    rows = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    for name, part in {"train": slice(0, TRAIN), "test": slice(TRAIN, None)}.items():
        content = {
            "data": rows[part],
            "fine_labels": labels[part].tolist(),
            "coarse_labels": [0] * len(rows[part]),
        }
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"name {number}" for number in range(100)]}))
    accept(monkeypatch, torchvision.datasets.CIFAR100, folder, ["train"], ["test"])
    return images, labels


def accept(monkeypatch, dataset_class, folder: Path, train: list[str], test: list[str]) -> None:
    """Tell torchvision's reader the checksums of these files instead of the real ones."""
    monkeypatch.setattr(dataset_class, "train_list", [[name, md5(folder / name)] for name in train])
    monkeypatch.setattr(dataset_class, "test_list", [[name, md5(folder / name)] for name in test])
    meta = dataset_class.meta
    monkeypatch.setattr(dataset_class, "meta", meta | {"md5": md5(folder / meta["filename"])})


def write_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """http://ufldl.stanford.edu/housenumbers: MATLAB files, images last; the digit 0 has the label 10."""
    images, labels = pictures(3, TRAIN + TEST, 32, 32, 3), np.arange(TRAIN + TEST)
    known = {}
    for split, rows in (("train", slice(0, TRAIN)), ("test", slice(TRAIN, None))):
        path = root / f"{split}_32x32.mat"
        digits = np.where(labels[rows] == 0, 10, labels[rows])[:, None].astype(np.uint8)
        scipy.io.savemat(path, {"X": images[rows].transpose(1, 2, 3, 0), "y": digits})
        known[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", known)
    return images, labels


def write_image_folder(root: Path, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    images = pictures(4, TRAIN + TEST, size, size, 3)
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 0, 1, 1])
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / ("train" if number < TRAIN else "test") / ["cats", "dogs"][label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return images, labels


# --- reading them ---


def assert_holds(settings: Dataset, images: np.ndarray, labels: np.ndarray) -> tuple[str, ...]:
    loaded = load(settings)
    assert loaded.num_train == TRAIN
    assert loaded.images.dtype == np.uint8
    assert loaded.images.flags.c_contiguous
    assert (loaded.images == images).all()
    assert loaded.labels.dtype == np.int16
    assert loaded.labels.tolist() == labels.tolist()
    return loaded.class_names


def test_digits_are_the_1797_of_scikit_learn_with_a_fifth_of_each_class_held_out():
    from sklearn.datasets import load_digits

    loaded, original = load(Dataset()), load_digits()
    assert loaded.images.shape == (1797, 8, 8, 1)
    assert loaded.images.max() == 255
    assert loaded.class_names == tuple("0123456789")
    sizes = np.bincount(original.target)
    assert np.bincount(loaded.labels[loaded.num_train :]).tolist() == [round(size / 5) for size in sizes]
    assert np.bincount(loaded.labels).tolist() == sizes.tolist()

    def sorted_rows(images: np.ndarray, labels: np.ndarray) -> list:
        return sorted(zip(images.reshape(1797, 64).tolist(), labels.tolist(), strict=True))

    levels = np.rint(loaded.images / 255 * 16).astype(int)
    assert sorted_rows(levels, loaded.labels) == sorted_rows(original.images.astype(int), original.target)


def test_the_test_digits_are_always_the_same():
    once, again = load(Dataset()), load(Dataset())
    assert (once.images == again.images).all()
    assert (once.labels == again.labels).all()


@pytest.mark.parametrize("packed", [False, True], ids=["unpacked", "packed"])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files_are_read_packed_and_unpacked(tmp_path, name, packed):
    images, labels = write_idx(tmp_path, packed)
    names = assert_holds(Dataset(name=name, root=str(tmp_path)), images, labels)
    assert len(names) == 10
    assert names[0] == {"mnist": "0 - zero", "fashion-mnist": "T-shirt/top"}[name]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_batches_are_read(tmp_path, monkeypatch, name):
    write = {"cifar10": write_cifar10, "cifar100": write_cifar100}[name]
    images, labels = write(tmp_path, monkeypatch)
    names = assert_holds(Dataset(name=name, root=str(tmp_path)), images, labels)
    assert names[3] == "name 3"
    assert len(names) == {"cifar10": 10, "cifar100": 100}[name]


def test_svhn_is_read_and_its_digit_ten_is_a_zero(tmp_path, monkeypatch):
    images, labels = write_svhn(tmp_path, monkeypatch)
    assert assert_holds(Dataset(name="svhn", root=str(tmp_path)), images, labels) == tuple("0123456789")


def test_a_folder_of_pictures_is_read(tmp_path):
    images, labels = write_image_folder(tmp_path)
    settings = Dataset(name="image-folder", root=str(tmp_path), image_size=5)
    assert assert_holds(settings, images, labels) == ("cats", "dogs")


def test_pictures_of_any_size_and_colour_are_resized(tmp_path):
    write_image_folder(tmp_path)
    Image.fromarray(np.full((20, 30), 77, np.uint8)).save(tmp_path / "train/cats/000.png")
    loaded = load(Dataset(name="image-folder", root=str(tmp_path), image_size=8))
    assert loaded.images.shape == (TRAIN + TEST, 8, 8, 3)
    assert (loaded.images[0] == 77).all()


def test_a_folder_whose_splits_have_other_classes_is_refused(tmp_path):
    write_image_folder(tmp_path)
    (tmp_path / "test/dogs").rename(tmp_path / "test/wolves")
    with pytest.raises(DatasetError, match=r"same class folders.*dogs.*wolves"):
        load(Dataset(name="image-folder", root=str(tmp_path), image_size=5))


@pytest.mark.parametrize("root", [path for path in [DEBIAN] if path.exists()], ids=str)
def test_fashion_mnist_of_debian_is_found_and_read(root):
    settings = Dataset(name="fashion-mnist", root=str(root))
    loaded = load(settings)
    assert loaded.images.shape == (70_000, 28, 28, 1)
    assert loaded.num_train == 60_000
    assert np.bincount(loaded.labels[:60_000]).tolist() == [6000] * 10
    assert loaded.class_names[9] == "Ankle boot"


# --- finding them ---


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_missing_data_are_an_error_that_says_how_to_get_them(tmp_path, name):
    size = 8 if name == "image-folder" else None
    settings = Dataset(name=name, root=str(tmp_path / "nowhere"), image_size=size)
    for ask in (load, fingerprint, locate):
        with pytest.raises(DatasetError) as caught:
            ask(settings)
        message = str(caught.value)
        assert f"dataset.name '{name}'" in message
        assert str(tmp_path / "nowhere") in message
        assert "--set dataset.root=" in message
        assert {"digits": "scikit-learn", "image-folder": "train/CLASS/PICTURE"}.get(name, "download=True") in message


def test_a_part_of_the_files_is_not_the_data_set(tmp_path):
    write_idx(tmp_path, packed=True)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match="t10k-labels"):
        locate(Dataset(name="mnist", root=str(tmp_path)))


def test_the_usual_places_are_searched_when_no_root_is_given(tmp_path, monkeypatch):
    (tmp_path / "data/MNIST/raw").mkdir(parents=True)
    images, labels = write_idx(tmp_path / "data/MNIST/raw", packed=False)
    monkeypatch.chdir(tmp_path)
    assert_holds(Dataset(name="mnist"), images, labels)


def test_every_folder_of_the_machine_is_searched_in_order(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "MNIST/raw").mkdir(parents=True)
    (second / "MNIST/raw").mkdir(parents=True)
    write_idx(second / "MNIST/raw", packed=False)
    monkeypatch.setenv("FEDSYN_DATA", f"{first}{os.pathsep}{second}")
    assert locate(Dataset(name="mnist")) == second / "MNIST/raw"
    write_idx(first / "MNIST/raw", packed=True)
    assert locate(Dataset(name="mnist")) == first / "MNIST/raw"

    with pytest.raises(DatasetError, match=f"{first}, {second}"):
        locate(Dataset(name="cifar10"))


def test_data_lie_where_the_machine_says_and_where_debian_puts_them(monkeypatch):
    for named, folders in ((None, ["data"]), ("", ["data"]), ("/a:/b", ["/a", "/b"]), ("/a::", ["/a"])):
        monkeypatch.delenv("FEDSYN_DATA", raising=False)
        if named is not None:
            monkeypatch.setenv("FEDSYN_DATA", named)
        assert data_folders() == [*map(Path, folders), DEBIAN.parent]


def test_files_that_are_damaged_are_an_error_that_names_their_folder(tmp_path, monkeypatch):
    write_cifar10(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py/data_batch_2").write_bytes(b"half a download")
    with pytest.raises(DatasetError, match=rf"cifar10.*{tmp_path}"):
        load(Dataset(name="cifar10", root=str(tmp_path)))


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"no idx")], ids=["no gzip", "no idx"])
def test_packed_files_that_are_damaged_are_an_error_that_names_their_folder(tmp_path, content):
    write_idx(tmp_path, packed=True)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"mnist.*{tmp_path}"):
        load(Dataset(name="mnist", root=str(tmp_path)))


def test_a_picture_that_is_damaged_is_an_error_that_names_the_folder(tmp_path):
    write_image_folder(tmp_path)
    (tmp_path / "train/cats/000.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=str(tmp_path)):
        load(Dataset(name="image-folder", root=str(tmp_path), image_size=5))


# --- their fingerprints ---


def test_a_fingerprint_is_of_the_content_and_not_of_the_folder(tmp_path):
    (tmp_path / "here").mkdir()
    write_idx(tmp_path / "here", packed=True)
    here = fingerprint(Dataset(name="mnist", root=str(tmp_path / "here")))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    there = Dataset(name="mnist", root=str(tmp_path / "there"))
    assert fingerprint(there) == here

    (tmp_path / "there/unrelated.txt").write_text("hello")
    assert fingerprint(there) == here

    path = tmp_path / "there/train-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert fingerprint(there) != here


def test_a_picture_moved_to_another_class_changes_the_fingerprint(tmp_path):
    write_image_folder(tmp_path)
    settings = Dataset(name="image-folder", root=str(tmp_path), image_size=5)
    before = fingerprint(settings)
    (tmp_path / "train/cats/002.png").rename(tmp_path / "train/dogs/002.png")  # the last cat is the first dog
    assert fingerprint(settings) != before


def test_the_digits_have_a_fingerprint():
    assert len(fingerprint(Dataset())) == 64
