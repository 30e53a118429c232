"""The data sets: where their files lie, how torchvision and scikit-learn read them, what to do without them."""

import gzip
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedsyn.config import Dataset
from fedsyn.randomness import generator

DEBIAN = "/usr/share/datasets"


class DatasetError(Exception):
    """The data set is not on this machine, or damaged; the message says how to get it."""


@dataclass(frozen=True)
class ImageSet:
    """All images of a data set, the training images first.

    `images`: (N, H, W, C) uint8; `labels`: (N,) int16; the first `num_train` rows are the training set.
    Height-width-channel order makes every batch channels-last in memory, which is fastest on a CPU.
    """

    images: np.ndarray
    labels: np.ndarray
    num_train: int
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """How one data set is found and read.

    `patterns`: glob patterns below a root; each must match, and the files matched are the data set's content.
    """

    patterns: tuple[str, ...]
    roots: tuple[str, ...]
    read: Callable[[Path, Dataset], ImageSet]
    advice: str


def load(settings: Dataset) -> ImageSet:
    """Read a data set.

    Raises:
        DatasetError: its files are not on this machine, or cannot be read.
    """
    source, root = SOURCES[settings.name], locate(settings)
    try:
        return source.read(root, settings)
    except DatasetError:
        raise
    except Exception as error:  # every reader has its own ways to say that a file is damaged
        raise DatasetError(
            f"dataset.name '{settings.name}': the files in {root} cannot be read "
            f"({type(error).__name__}: {error}). {source.advice}"
        ) from error


def fingerprint(settings: Dataset) -> str:
    """SHA-256 over the names and contents of the data set's files.

    Raises:
        DatasetError: its files are not on this machine.
    """
    root = locate(settings)
    total = hashlib.sha256()
    for path in _files(root, SOURCES[settings.name].patterns):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def locate(settings: Dataset) -> Path:
    """The folder that holds the data set's files: `settings.root`, or the first usual place that has them.

    Raises:
        DatasetError: there is none; the message names the places searched and how to get the data.
    """
    source = SOURCES[settings.name]
    roots = [settings.root] if settings.root else [*_usual(source)]
    for root in (Path(name).expanduser() for name in roots):
        if all(any(root.glob(pattern)) for pattern in source.patterns):
            return root
    raise DatasetError(
        f"dataset.name '{settings.name}' needs {', '.join(source.patterns)} and found no folder that has them "
        f"(searched: {', '.join(roots)}). {source.advice} or say where it is: --set dataset.root=FOLDER"
    )


def data_folders() -> list[Path]:
    """Where data sets may lie: the folders that FEDSYN_DATA names (one or several, as in PATH; default: `data`), and
    where Debian's packages put theirs."""
    named = os.environ.get("FEDSYN_DATA") or "data"
    return [Path(name) for name in [*named.split(os.pathsep), DEBIAN] if name]


def _usual(source: Source) -> Iterator[str]:
    """A source's own places; one in `data` is a place in each folder that FEDSYN_DATA names."""
    for root in source.roots:
        first, *rest = Path(root).parts
        folders = data_folders()[:-1] if first == "data" else [Path(first)]
        yield from (str(folder.joinpath(*rest)) for folder in folders)


def _files(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()})


def _read_digits(root: Path, settings: Dataset) -> ImageSet:
    """scikit-learn's 1,797 images of 8 x 8. It has no official test set: a fifth of each class is held out, always
    the same one, whatever the seed of the experiment."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int16)
    order = generator(0, "dataset", "digits test split").permutation(len(labels))
    is_test = np.zeros(len(labels), dtype=bool)
    for class_id in range(10):
        members = order[labels[order] == class_id]
        is_test[members[: round(len(members) / 5)]] = True
    rows = np.concatenate([np.flatnonzero(~is_test), np.flatnonzero(is_test)])
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    return ImageSet(images[rows], labels[rows], int((~is_test).sum()), tuple(str(digit) for digit in range(10)))


def _read_idx(dataset_class: str) -> Callable[[Path, Dataset], ImageSet]:
    def read(root: Path, settings: Dataset) -> ImageSet:
        import torchvision

        reader = getattr(torchvision.datasets, dataset_class)
        with tempfile.TemporaryDirectory() as folder:  # torchvision reads unpacked files in a layout of its own
            raw = Path(folder) / dataset_class / "raw"
            raw.mkdir(parents=True)
            for path in _files(root, IDX_FILES):
                unpacked = raw / path.name.removesuffix(".gz")
                with (
                    gzip.open(path) if path.suffix == ".gz" else path.open("rb") as packed,
                    unpacked.open("wb") as out,
                ):
                    shutil.copyfileobj(packed, out)
            train, test = reader(folder, train=True), reader(folder, train=False)
        images = np.concatenate([train.data.numpy(), test.data.numpy()])[..., None]
        return _image_set(images, train.targets.tolist(), test.targets.tolist(), train.classes)

    return read


def _read_cifar(dataset_class: str) -> Callable[[Path, Dataset], ImageSet]:
    def read(root: Path, settings: Dataset) -> ImageSet:
        import torchvision

        reader = getattr(torchvision.datasets, dataset_class)
        train, test = reader(root, train=True), reader(root, train=False)
        return _image_set(np.concatenate([train.data, test.data]), train.targets, test.targets, train.classes)

    return read


def _read_svhn(root: Path, settings: Dataset) -> ImageSet:
    from torchvision.datasets import SVHN

    train, test = SVHN(str(root), split="train"), SVHN(str(root), split="test")
    images = np.concatenate([train.data, test.data]).transpose(0, 2, 3, 1)
    return _image_set(images, train.labels.tolist(), test.labels.tolist(), [str(digit) for digit in range(10)])


def _read_image_folder(root: Path, settings: Dataset) -> ImageSet:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    resize = v2.Compose([v2.Resize((settings.image_size, settings.image_size), antialias=True)])
    train, test = (ImageFolder(str(root / split), transform=resize) for split in ("train", "test"))
    if train.classes != test.classes:
        raise DatasetError(
            f"dataset.root {root}: train/ and test/ must hold the same class folders, "
            f"got {train.classes} and {test.classes}"
        )
    images = np.stack([np.asarray(image) for split in (train, test) for image, _ in split])
    return _image_set(images, train.targets, test.targets, train.classes)


def _image_set(images: np.ndarray, train_labels: list[int], test_labels: list[int], names: Any) -> ImageSet:
    labels = np.asarray([*train_labels, *test_labels], dtype=np.int16)
    return ImageSet(np.ascontiguousarray(images), labels, len(train_labels), tuple(names))


IDX_FILES = (
    "train-images-idx3-ubyte*",
    "train-labels-idx1-ubyte*",
    "t10k-images-idx3-ubyte*",
    "t10k-labels-idx1-ubyte*",
)


def _torchvision_advice(dataset_class: str, arguments: str = "train=True, ") -> str:
    code = f"import torchvision; torchvision.datasets.{dataset_class}('data', {arguments}download=True)"
    return f'Get it with: python -c "{code}"'


def _sklearn_data() -> str:
    import importlib.util

    spec = importlib.util.find_spec("sklearn")  # found, not imported: a cached run must not wait for it
    assert spec is not None
    return str(Path(str(spec.origin)).parent / "datasets" / "data")


SOURCES = {
    "digits": Source(("digits.csv.gz",), (_sklearn_data(),), _read_digits, "Reinstall scikit-learn, which ships it,"),
    "mnist": Source(
        IDX_FILES,
        ("data/MNIST/raw", f"{DEBIAN}/mnist"),
        _read_idx("MNIST"),
        _torchvision_advice("MNIST"),
    ),
    "fashion-mnist": Source(
        IDX_FILES,
        ("data/FashionMNIST/raw", f"{DEBIAN}/fashion-mnist"),
        _read_idx("FashionMNIST"),
        "On Debian: apt-get install dataset-fashion-mnist. " + _torchvision_advice("FashionMNIST"),
    ),
    "cifar10": Source(("cifar-10-batches-py/*",), ("data",), _read_cifar("CIFAR10"), _torchvision_advice("CIFAR10")),
    "cifar100": Source(("cifar-100-python/*",), ("data",), _read_cifar("CIFAR100"), _torchvision_advice("CIFAR100")),
    "svhn": Source(
        ("train_32x32.mat", "test_32x32.mat"),
        ("data",),
        _read_svhn,
        _torchvision_advice("SVHN", "split='train', ") + " (and split='test')",
    ),
    "image-folder": Source(
        ("train/*/**/*", "test/*/**/*"),
        (),
        _read_image_folder,
        "Lay it out as train/CLASS/PICTURE and test/CLASS/PICTURE",
    ),
}
