"""The images of Section 4.1: small ones that come with scikit-learn, and CIFAR-10, MNIST, Fashion-MNIST.

`load` returns pixels in [0, 1]; `normalised` and `input_scale` turn them into network inputs whose first layer starts
at the variance q* that the theory assumes. No file is ever unpickled, and no file with a wrong checksum is ever read.

An npz file of your own ("npz:/path/to/file.npz") holds either raw images

    x_train, x_test   uint8, (images, ...): any shape per image, flattened
    y_train, y_test   integer labels, (images,)

or JPEG bytes, decoded on loading (needs Pillow):

    jpeg              uint8, the concatenated files; offsets: (images + 1,) where each begins, and the end
    labels            integer, (images,); n_train: the first so many images are the training set

and optionally `name` (what captions and manifests call it), `source` (where it comes from) and `classes`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afli._inputs import integer, scalar

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

__all__ = [
    "NAMES", "NORMALISATIONS", "DataError", "Dataset", "cache_folder", "hold_out", "input_scale", "load", "normalised",
    "resplit",
]  # fmt: skip

NORMALISATIONS = ("sphere", "sphere-uncentred", "authors")

CIFAR10 = ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
CIFAR10_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Training images, training labels, test images, test labels: file name and md5.
MNIST = (
    ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
FASHION_MNIST = (
    ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
)
FASHION_MNIST_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)


class DataError(OSError):
    """A data file is missing, truncated or altered; the message says which file, and where it belongs."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, flattened.

    x_train, x_test: float32, (images, pixels), in [0, 1]. y_train, y_test: int64 in 0, ..., classes - 1.
    name: what captions and tables call it. source: where the images come from.
    """

    name: str
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    source: str

    @property
    def features(self) -> int:
        """Pixels (times channels) per image: the width of a network's input."""
        return int(self.x_train.shape[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    @cached_property
    def sha256(self) -> str:
        """Checksum of all pixels and labels, as they are used."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(name: str, *, root: str | os.PathLike[str] | None = None) -> Dataset:
    """The dataset of that name: digits, digit-parity, cifar10, mnist, fashion-mnist, or "npz:/path/to/file.npz".

    root: the cache folder; default: the environment variable AFLI_DATA, else ~/.cache/afli. The first use of a dataset
    that is not embedded downloads it there, with a progress bar.
    Raises ValueError for an unknown name, DataError if a file is truncated, altered, or missing and out of reach.
    """
    if name.startswith("npz:"):
        return _load_npz(Path(name.removeprefix("npz:")).expanduser())
    if name not in _LOADERS:
        raise ValueError(f"name must be one of {', '.join(NAMES)} or 'npz:/path/to/file.npz', got {name!r}")
    return _LOADERS[name](Path(root).expanduser() if root is not None else cache_folder())


def cache_folder() -> Path:
    """Where downloads are kept: $AFLI_DATA, else ~/.cache/afli."""
    return Path(os.environ.get("AFLI_DATA") or Path.home() / ".cache" / "afli").expanduser()


# --- Inputs of the network ---


def normalised(dataset: Dataset, normalisation: str = "sphere") -> Dataset:
    """The dataset as network inputs, up to the factor `input_scale`.

    sphere: the training mean is subtracted, then every image is scaled to mean square 1. sphere-uncentred: the scaling
    alone. authors: pixels in [0, 1], as they are.
    Raises ValueError for another name, and where an image is constant zero and cannot be scaled.
    """
    _check_normalisation(normalisation)
    if normalisation == "authors":
        return dataset
    mean = dataset.x_train.mean(axis=0, dtype=np.float64) if normalisation == "sphere" else np.zeros(dataset.features)
    x_train, x_test = (_on_sphere(x, mean.astype(np.float32), dataset.name) for x in (dataset.x_train, dataset.x_test))
    return Dataset(dataset.name, x_train, dataset.y_train, x_test, dataset.y_test, dataset.source)


def input_scale(normalisation: str, *, q: float, sigma_w2: float, sigma_b2: float) -> float:
    """The factor that puts inputs of mean square 1 at variance q in layer 1 (eq. (1) with l = 1).

    Layer 1 has variance sigma_w2 ||x||^2 / n + sigma_b2, so the spheres use sqrt((q - sigma_b2) / sigma_w2). `authors`
    is the scripts' own choice, sqrt(q) times pixels in [0, 1], which starts well below q.
    Raises ValueError unless q >= sigma_b2 >= 0 and sigma_w2 > 0.
    """
    _check_normalisation(normalisation)
    if not (sigma_w2 > 0 and q >= sigma_b2 >= 0):
        raise ValueError(f"need sigma_w2 > 0 and q >= sigma_b2 >= 0, got {q=!r}, {sigma_w2=!r}, {sigma_b2=!r}")
    return float(np.sqrt(q if normalisation == "authors" else (q - sigma_b2) / sigma_w2))


def resplit(dataset: Dataset, split: int) -> Dataset:
    """Training and test images exchanged at random, their numbers kept: another look at the same images.

    Parameters
    ----------
    dataset
        As loaded.
    split
        0 leaves the dataset as it is; 1, 2, ... are other divisions, the same on every machine.
    """
    split = integer("split", split, low=0)
    if split == 0:
        return dataset
    count = len(dataset.y_train)
    order = np.random.default_rng([2021, split]).permutation(count + len(dataset.y_test))
    x = np.concatenate([dataset.x_train, dataset.x_test])[order]
    y = np.concatenate([dataset.y_train, dataset.y_test])[order]
    return replace(dataset, x_train=x[:count], y_train=y[:count], x_test=x[count:], y_test=y[count:])


def hold_out(dataset: Dataset, share: float) -> tuple[Dataset, Images, Labels]:
    """The dataset with the last `share` of its training images taken away, and those images with their labels.

    Parameters
    ----------
    dataset
        As loaded; CIFAR-10's and the digits' training images come in no order, so that the last are like the others.
    share
        In [0, 1): the part to validate on.

    Raises
    ------
    ValueError
        If no image would be left to train on, or none to validate on although share > 0.
    """
    share = scalar("share", share, low=0.0)
    held = round(share * len(dataset.y_train))
    kept = len(dataset.y_train) - held
    if kept < 1 or (share > 0 and held < 1):
        raise ValueError(f"share must leave images on both sides, got {share!r} of {len(dataset.y_train)}")
    less = replace(dataset, x_train=dataset.x_train[:kept], y_train=dataset.y_train[:kept])
    return less, dataset.x_train[kept:], dataset.y_train[kept:]


def _check_normalisation(normalisation: str) -> None:
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation must be one of {', '.join(NORMALISATIONS)}, got {normalisation!r}")


def _on_sphere(x: Images, mean: Images, name: str) -> Images:
    centred = x - mean
    mean_square = np.einsum("ij,ij->i", centred, centred, dtype=np.float64) / x.shape[1]
    if not (mean_square > 0).all():
        raise ValueError(f"image {int(np.argmin(mean_square))} of {name} is constant at the mean and cannot be scaled")
    centred /= np.sqrt(mean_square)[:, None].astype(np.float32)
    return centred


# --- Loaders ---


def _load_digits(root: Path) -> Dataset:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    # The file is ordered by writer; a fixed shuffle makes training and test images alike.
    order = np.random.default_rng(0).permutation(len(pixels))
    x, y = (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    source = "scikit-learn's copy of the UCI optical digits, 8 x 8 pixels"
    return Dataset("digits", x[:1437], y[:1437], x[1437:], y[1437:], source)


def _load_digit_parity(root: Path) -> Dataset:
    digits = _load_digits(root)
    return Dataset("digit-parity", digits.x_train, digits.y_train % 2, digits.x_test, digits.y_test % 2, digits.source)


def _load_cifar10(root: Path) -> Dataset:
    archive = _fetch(root / CIFAR10[0], CIFAR10[1], CIFAR10_MIRRORS)
    members = [f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
    with tarfile.open(archive) as tar:
        records = [np.frombuffer(_member(tar, name), np.uint8).reshape(-1, 3073) for name in members]
    train, test = np.concatenate(records[:5]), records[5]
    source = f"official binary archive, {CIFAR10_MIRRORS[0]}{CIFAR10[0]}"
    return Dataset("CIFAR-10", *_split(train[:, 1:], train[:, 0], test[:, 1:], test[:, 0]), source)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    if stream is None:
        raise DataError(f"{name} is missing from {tar.name!r}")
    return stream.read()


def _load_idx_dataset(name: str, files: tuple[tuple[str, str], ...], mirrors: tuple[str, ...], root: Path) -> Dataset:
    folder = root / name.lower()
    x_train, y_train, x_test, y_test = (_read_idx(_fetch(folder / file, md5, mirrors)) for file, md5 in files)
    return Dataset(name, *_split(x_train, y_train, x_test, y_test), f"IDX files, {mirrors[0]}")


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of unsigned bytes in the IDX format: 0, 0, 8, number of axes, the lengths as big-endian int32, data."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = tuple(int(n) for n in np.frombuffer(content, ">i4", axes, 4))
    values = np.frombuffer(content, np.uint8, -1, 4 + 4 * axes)
    if content[:3] != b"\0\0\x08" or values.size != np.prod(shape):
        raise DataError(f"{path} is not an IDX file of unsigned bytes of shape {shape}")
    return values.reshape(shape)


_LOADERS = {
    "digits": _load_digits,
    "digit-parity": _load_digit_parity,
    "cifar10": _load_cifar10,
    "mnist": lambda root: _load_idx_dataset("MNIST", MNIST, MNIST_MIRRORS, root),
    "fashion-mnist": lambda root: _load_idx_dataset("Fashion-MNIST", FASHION_MNIST, FASHION_MNIST_MIRRORS, root),
}
NAMES = tuple(_LOADERS)


def _load_npz(path: Path) -> Dataset:
    if not path.is_file():
        raise DataError(f"there is no file {path}; its keys are described in afli.data")
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} is truncated or altered: {error}") from error
    raw, encoded = {"x_train", "y_train", "x_test", "y_test"}, {"jpeg", "offsets", "labels", "n_train"}
    if raw <= content.keys():
        arrays = _split(content["x_train"], content["y_train"], content["x_test"], content["y_test"])
    elif encoded <= content.keys():
        pixels, n = _decode_jpegs(content["jpeg"], content["offsets"], path), int(content["n_train"])
        arrays = _split(pixels[:n], content["labels"][:n], pixels[n:], content["labels"][n:])
    else:
        raise DataError(f"{path} must hold the keys {sorted(raw)} or {sorted(encoded)}, got {sorted(content)}")
    return Dataset(_npz_name(content, path), *arrays, str(content.get("source", path.name)))


def _npz_name(content: dict[str, Any], path: Path) -> str:
    if "name" in content:
        return str(content["name"])
    if "jpeg" in content and tuple(str(c) for c in content.get("classes", ())) == CIFAR10_CLASSES:
        return "CIFAR-10 (JPEG copy)"
    return path.stem


def _decode_jpegs(jpeg: NDArray[np.uint8], offsets: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    from PIL import Image
    from tqdm import tqdm

    stream, pixels = jpeg.tobytes(), []
    spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    progress = tqdm(spans, "decoding", len(offsets) - 1, unit="image", leave=False, disable=None)
    for index, (start, end) in enumerate(progress):
        try:
            pixels.append(np.asarray(Image.open(io.BytesIO(stream[start:end]))).ravel())
        except OSError as error:
            raise DataError(f"image {index} of {path} cannot be decoded: {error}") from error
    return np.stack(pixels)


def _split(
    x_train: NDArray[Any], y_train: NDArray[Any], x_test: NDArray[Any], y_test: NDArray[Any]
) -> tuple[Images, Labels, Images, Labels]:
    """Byte images as float32 rows in [0, 1]; labels as int64. Raises DataError where they are not that."""
    for x, y in ((x_train, y_train), (x_test, y_test)):
        if x.dtype != np.uint8 or y.shape != (len(x),) or len(x) == 0:
            raise DataError(f"images must be uint8 with one label each, got {x.dtype}{x.shape} and labels {y.shape}")
        if y.dtype.kind not in "iu" or int(y.min()) < 0:
            raise DataError(f"labels must be integers from 0 on, got {y.dtype}, the lowest {y.min()}")
    if x_train.shape[1:] != x_test.shape[1:]:
        sizes = f"{x_train.shape[1:]} to train and {x_test.shape[1:]} to test"
        raise DataError(f"all images must be of one size, got {sizes}")
    pixels, test_pixels = (np.divide(x.reshape(len(x), -1), 255, dtype=np.float32) for x in (x_train, x_test))
    return pixels, y_train.astype(np.int64), test_pixels, y_test.astype(np.int64)


def _fetch(path: Path, md5: str, mirrors: tuple[str, ...]) -> Path:
    """`path` with that checksum, downloaded from the first mirror that answers if it is not there yet."""
    if path.is_file() and _md5(path) == md5:
        return path
    reasons = [f"the file there has another checksum than {md5}: it is truncated or altered"] if path.is_file() else []
    for mirror in mirrors:
        try:
            import pooch

            downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
            return Path(pooch.retrieve(mirror + path.name, f"md5:{md5}", path.name, path.parent, downloader=downloader))
        except (OSError, ValueError, ImportError) as error:
            reasons.append(f"{mirror}: {error}")
    advice = f"{path} is needed: put the file {path.name} (md5 {md5}) there yourself, or set AFLI_DATA"
    raise DataError("; ".join([advice, *reasons]))


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
