"""The images of Section 4.1: small ones that come with scikit-learn, and CIFAR-10, MNIST, Fashion-MNIST.

`load` returns pixels in [0, 1]; `normalised` and `input_scale` turn them into network inputs whose first layer starts
at the variance q* that the theory assumes. No file is ever unpickled, and no file with a wrong checksum is ever read.

An npz file of your own ("npz:/path/to/file.npz") holds either raw images

    x_train, x_test   uint8, (images, ...): any shape per image, flattened
    y_train, y_test   integer labels, (images,)

or the bytes of image files, all grey or all RGB and of one size, decoded on loading (needs Pillow):

    jpeg              uint8, the concatenated files; offsets: (images + 1,) where each begins, and the end
    labels            integer, (images,); n_train: the first so many images are the training set

and optionally `name` (what captions and manifests call it), `source` (where it comes from) and `classes`, the names of
the classes. Without `classes`, every label from 0 to the highest must occur among the training images.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import reprlib
import tarfile
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from afli._inputs import integer, scalar, text, word

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

__all__ = [
    "NAMES", "NORMALISATIONS", "DataError", "Dataset", "cache_folder", "hold_out", "input_scale", "load", "normalised",
    "resplit",
]  # fmt: skip

NORMALISATIONS = ("sphere", "sphere-uncentred", "authors")

CIFAR10 = ("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530")
CIFAR10_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
# Of the arrays jpeg, labels and n_train of the one known copy of CIFAR-10 whose images are JPEG files.
CIFAR10_JPEG_SHA256 = "780e8aed513617d6debe25809e078bd20120da7e1b723370929e65cb4ebd9e97"
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
    """Labelled images, flattened: those of `load`, or your own.

    Parameters
    ----------
    name
        What captions and tables call it.
    x_train, x_test
        Pixels in [0, 1], (images, pixels); kept as float32.
    y_train, y_test
        Integer labels in 0, ..., classes - 1, (images,); kept as int64.
    source
        Where the images come from.
    classes
        The number of classes. 0 counts them; then every label from 0 to the highest must occur among the training
        images, for a label that does not is more often a mistake than a class.

    Raises
    ------
    TypeError
        If pixels are not floating point numbers, labels not integers, or name and source not words.
    ValueError
        If shapes do not fit, a pixel is not finite as float32, or a label is out of range.
    """

    name: str
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    source: str
    classes: int = 0

    def __post_init__(self) -> None:
        for field in ("name", "source"):
            object.__setattr__(self, field, text(field, getattr(self, field)))
        for part in ("train", "test"):
            x, y = _rows(f"x_{part}", getattr(self, f"x_{part}")), _labels(f"y_{part}", getattr(self, f"y_{part}"))
            if len(x) != len(y):
                raise ValueError(f"every image needs one label, got {len(x)} in x_{part} and {len(y)} in y_{part}")
            object.__setattr__(self, f"x_{part}", x)
            object.__setattr__(self, f"y_{part}", y)
        if self.x_train.shape[1] != self.x_test.shape[1]:
            pixels = f"{self.x_train.shape[1]} pixels to train and {self.x_test.shape[1]} to test"
            raise ValueError(f"all images must be of one size, got {pixels}")
        highest = int(max(self.y_train.max(), self.y_test.max()))
        classes = integer("classes", self.classes, low=0)
        if classes and highest >= classes:
            raise ValueError(f"labels must lie in 0..{classes - 1}, one per class, got {highest}")
        if not classes:
            _require_every_label(self.y_train, highest)
        object.__setattr__(self, "classes", classes or highest + 1)

    @property
    def features(self) -> int:
        """Pixels (times channels) per image: the width of a network's input."""
        return int(self.x_train.shape[1])

    @cached_property
    def sha256(self) -> str:
        """Checksum of all pixels and labels, as they are used."""
        digest = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def load(name: str, *, root: str | os.PathLike[str] | None = None) -> Dataset:
    """The dataset of that name.

    Parameters
    ----------
    name
        digits, digit-parity, cifar10, mnist, fashion-mnist, or "npz:/path/to/file.npz".
    root
        The cache folder; default: the environment variable AFLI_DATA, else ~/.cache/afli. The first use of a dataset
        that is not embedded downloads it there, with a progress bar. The digits need none.

    Raises
    ------
    TypeError
        If name is not a str, or root no path.
    ValueError
        For an unknown name.
    DataError
        If a file is truncated, altered, cannot be meant, or is missing and out of reach; it names the file. If there
        is no home folder for a download.
    """
    name = text("name", name)
    if not (root is None or isinstance(root, (str, os.PathLike))):
        raise TypeError(f"root must be the path of a folder, got {root!r} of type {type(root).__name__}")
    if name.startswith("npz:"):
        return _load_npz(_expanded(name.removeprefix("npz:")))
    if name in _EMBEDDED:
        return _EMBEDDED[name]()
    if name not in _DOWNLOADED:
        raise ValueError(f"name must be one of {', '.join(NAMES)} or 'npz:/path/to/file.npz', got {name!r}")
    return _DOWNLOADED[name](_expanded(root) if root is not None else cache_folder())


def cache_folder() -> Path:
    """Where downloads are kept: $AFLI_DATA, else ~/.cache/afli. Raises DataError where nobody knows the home folder."""
    return _expanded(os.environ.get("AFLI_DATA") or "~/.cache/afli")


def _expanded(path: str | os.PathLike[str]) -> Path:
    """The path, ~ in it replaced by the home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        reason = "there is no such home folder; name the whole path, or set AFLI_DATA"
        raise DataError(f"{path} cannot be found: {reason}") from error


def _rows(name: str, pixels: Any) -> Images:
    if isinstance(pixels, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked one: masked pixels have no meaning here")
    x = _array(name, pixels)
    if x.dtype.kind != "f":
        raise TypeError(f"{name} must hold floating point numbers in [0, 1], got {x.dtype}: bytes are divided by 255")
    if x.ndim != 2 or not x.size:
        raise ValueError(f"{name} must be of shape (images, pixels), neither of them 0, got {x.shape}")
    with np.errstate(over="ignore", under="ignore"):
        kept = x.astype(np.float32, copy=False)
    if not (np.isfinite(kept.min()) and np.isfinite(kept.max())):  # the extremes of an array with a NaN are NaN
        raise ValueError(f"{name} must be finite as float32, got pixels between {x.min()} and {x.max()}")
    return kept


def _labels(name: str, labels: Any) -> Labels:
    y = _array(name, labels)
    if y.dtype.kind not in "iu" or isinstance(labels, np.ma.MaskedArray):
        got = f"{y.dtype} in a {type(labels).__name__}"
        raise TypeError(f"{name} must be a plain array of integers from 0 on, got {got}")
    if y.ndim != 1 or not y.size:
        raise ValueError(f"{name} must be of shape (images,) and not empty, got {y.shape}")
    if int(y.min()) < 0 or int(y.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be integers from 0 on, got {y.min()} to {y.max()}")
    return y.astype(np.int64, copy=False)


def _array(name: str, values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors that need gradients
        raise TypeError(f"{name} must be a rectangular array, got a {type(values).__name__}: {error}") from error


def _require_every_label(y_train: Labels, highest: int) -> None:
    found = np.unique(y_train)
    if len(found) <= highest:
        absent = next((i for i, label in enumerate(found) if i != label), len(found))
        raise ValueError(
            f"labels must be 0, 1, ... without a gap: no training image is a {absent}, but labels go up to {highest};"
            " if that is meant, say how many classes there are: `classes`"
        )


# --- Inputs of the network ---


def normalised(dataset: Dataset, normalisation: str = "sphere") -> Dataset:
    """The dataset as network inputs, up to the factor `input_scale`.

    Parameters
    ----------
    dataset
        As loaded, pixels in [0, 1].
    normalisation
        sphere: the training mean is subtracted, then every image is scaled to mean square 1. sphere-uncentred: the
        scaling alone. authors: pixels in [0, 1], as they are.

    Raises
    ------
    TypeError
        If dataset is not a `Dataset`.
    ValueError
        For another name; where an image is constant at the mean and cannot be scaled; for authors, where pixels lie
        outside [0, 1].
    """
    dataset = _dataset(dataset)
    normalisation = word("normalisation", normalisation, NORMALISATIONS)
    if normalisation == "authors":
        parts = (dataset.x_train, dataset.x_test)
        low, high = min(x.min() for x in parts), max(x.max() for x in parts)
        if low < 0 or high > 1:
            raise ValueError(f"authors needs pixels in [0, 1], {dataset.name} has them in [{low:g}, {high:g}]")
        return dataset
    mean = dataset.x_train.mean(axis=0, dtype=np.float64) if normalisation == "sphere" else np.zeros(dataset.features)
    x_train, x_test = (_on_sphere(x, mean.astype(np.float32), dataset.name) for x in (dataset.x_train, dataset.x_test))
    return replace(dataset, x_train=x_train, x_test=x_test)


def input_scale(normalisation: str, *, q: float, sigma_w2: float, sigma_b2: float) -> float:
    """The factor that puts inputs of mean square 1 at variance q in layer 1 (eq. (1) with l = 1).

    Layer 1 has variance sigma_w2 ||x||^2 / n + sigma_b2, so the spheres use sqrt((q - sigma_b2) / sigma_w2). `authors`
    is the scripts' own choice, sqrt(q) times pixels in [0, 1], which starts well below q.

    Parameters
    ----------
    normalisation
        One of `normalised`.
    q
        Variance that layer 1 is to have, at least sigma_b2.
    sigma_w2, sigma_b2
        Variances of the weights, > 0, and of the biases, >= 0.

    Raises
    ------
    TypeError
        If one of the three is not a number.
    ValueError
        For another name; unless q >= sigma_b2 >= 0 and sigma_w2 > 0, all finite.
    """
    normalisation = word("normalisation", normalisation, NORMALISATIONS)
    q, sigma_b2 = scalar("q", q, low=0.0), scalar("sigma_b2", sigma_b2, low=0.0)
    sigma_w2 = scalar("sigma_w2", sigma_w2, low=0.0, open_low=True)
    if q < sigma_b2:
        raise ValueError(f"q must be at least sigma_b2, got {q=!r}, {sigma_b2=!r}")
    return float(np.sqrt(q if normalisation == "authors" else (q - sigma_b2) / sigma_w2))


def resplit(dataset: Dataset, split: int) -> Dataset:
    """Training and test images exchanged at random, their numbers kept: another look at the same images.

    Parameters
    ----------
    dataset
        As loaded.
    split
        0 leaves the dataset as it is; 1, 2, ... are other divisions, the same on every machine.

    Raises
    ------
    TypeError, ValueError
        If dataset is not a `Dataset`; if split is no integer, or below 0.
    """
    dataset = _dataset(dataset)
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
    TypeError
        If dataset is not a `Dataset`, or share no number.
    ValueError
        If no image would be left to train on, or none to validate on although share > 0.
    """
    dataset = _dataset(dataset)
    share = scalar("share", share, low=0.0, high=1.0)
    held = round(share * len(dataset.y_train))
    kept = len(dataset.y_train) - held
    if kept < 1 or (share > 0 and held < 1):
        raise ValueError(f"share must leave images on both sides, got {share!r} of {len(dataset.y_train)}")
    less = replace(dataset, x_train=dataset.x_train[:kept], y_train=dataset.y_train[:kept])
    return less, dataset.x_train[kept:], dataset.y_train[kept:]


def _dataset(value: Any) -> Dataset:
    if not isinstance(value, Dataset):
        raise TypeError(f"dataset must be a Dataset, as load gives it, got {reprlib.repr(value)}")
    return value


def _on_sphere(x: Images, mean: Images, name: str) -> Images:
    centred = x - mean
    mean_square = np.einsum("ij,ij->i", centred, centred, dtype=np.float64) / x.shape[1]
    if not (mean_square > 0).all():
        raise ValueError(f"image {int(np.argmin(mean_square))} of {name} is constant at the mean and cannot be scaled")
    centred /= np.sqrt(mean_square)[:, None].astype(np.float32)
    return centred


# --- Loaders ---


def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    # The file is ordered by writer; a fixed shuffle makes training and test images alike.
    order = np.random.default_rng(0).permutation(len(pixels))
    x, y = (pixels[order] / 16).astype(np.float32), labels[order].astype(np.int64)
    source = "scikit-learn's copy of the UCI optical digits, 8 x 8 pixels"
    return Dataset("digits", x[:1437], y[:1437], x[1437:], y[1437:], source, classes=10)


def _load_digit_parity() -> Dataset:
    digits = _load_digits()
    return replace(digits, name="digit-parity", y_train=digits.y_train % 2, y_test=digits.y_test % 2, classes=2)


def _load_cifar10(root: Path) -> Dataset:
    archive = _fetch(root / CIFAR10[0], CIFAR10[1], CIFAR10_MIRRORS)
    members = [f"cifar-10-batches-bin/{name}.bin" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
    with tarfile.open(archive) as tar:
        records = [np.frombuffer(_member(tar, name), np.uint8).reshape(-1, 3073) for name in members]
    train, test = np.concatenate(records[:5]), records[5]
    source = f"official binary archive, {CIFAR10_MIRRORS[0]}{CIFAR10[0]}"
    return Dataset("CIFAR-10", *_split(train[:, 1:], train[:, 0], test[:, 1:], test[:, 0]), source, classes=10)


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    if stream is None:
        raise DataError(f"{name} is missing from {tar.name!r}")
    return stream.read()


def _load_idx_dataset(name: str, files: tuple[tuple[str, str], ...], mirrors: tuple[str, ...], root: Path) -> Dataset:
    folder = root / name.lower()
    x_train, y_train, x_test, y_test = (_read_idx(_fetch(folder / file, md5, mirrors)) for file, md5 in files)
    return Dataset(name, *_split(x_train, y_train, x_test, y_test), f"IDX files, {mirrors[0]}", classes=10)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of unsigned bytes in the IDX format: 0, 0, 8, number of axes, the lengths as big-endian int32, data."""
    content = gzip.decompress(path.read_bytes())
    axes = content[3]
    shape = tuple(int(n) for n in np.frombuffer(content, ">i4", axes, 4))
    values = np.frombuffer(content, np.uint8, -1, 4 + 4 * axes)
    if content[:3] != b"\0\0\x08" or values.size != np.prod(shape):
        raise DataError(f"{path} is not an IDX file of unsigned bytes of shape {shape}")
    return values.reshape(shape)


_EMBEDDED = {"digits": _load_digits, "digit-parity": _load_digit_parity}
_DOWNLOADED = {
    "cifar10": _load_cifar10,
    "mnist": lambda root: _load_idx_dataset("MNIST", MNIST, MNIST_MIRRORS, root),
    "fashion-mnist": lambda root: _load_idx_dataset("Fashion-MNIST", FASHION_MNIST, FASHION_MNIST_MIRRORS, root),
}
NAMES = (*_EMBEDDED, *_DOWNLOADED)


def _load_npz(path: Path) -> Dataset:
    content = _npz_content(path)
    raw, encoded = {"x_train", "y_train", "x_test", "y_test"}, {"jpeg", "offsets", "labels", "n_train"}
    try:
        if raw <= content.keys():
            arrays = _split(*(content[key] for key in ("x_train", "y_train", "x_test", "y_test")))
        elif encoded <= content.keys():
            arrays = _decoded(content)
        else:
            raise ValueError(f"its keys must be {sorted(raw)} or {sorted(encoded)}, got {sorted(content)}")
        classes = content.get("classes")
        if classes is not None and (classes.ndim != 1 or len(set(classes.tolist())) != len(classes)):
            raise ValueError(f"`classes` must be a list of different names, got {classes.tolist()!r}")
        name, source = _npz_name(content, path), _text(content, "source", path.name)
        return Dataset(name, *arrays, source, classes=0 if classes is None else len(classes))
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} cannot be used: {error}") from error


def _npz_content(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of the file."""
    if not os.path.isfile(path):  # also where its folder may not be looked into, which Path.is_file raises for
        raise DataError(f"there is no file {path}; its keys are described in afli.data")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an npz file as np.savez writes it, is truncated or altered, or cannot be read")
    try:
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files}
    except Exception as error:  # what is raised depends on where the damage is: zlib.error, MemoryError, ValueError...
        reason = "it holds Python objects, which are never loaded" if "pickle" in str(error) else repr(error)
        raise DataError(f"{path} is truncated or altered, or holds no plain arrays: {reason}") from error
    for key, array in content.items():
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path} is not an npz file as np.savez writes it: {key} is no array")
    return content


def _npz_name(content: dict[str, NDArray[Any]], path: Path) -> str:
    """The file's own name for its images, else that of the file; CIFAR-10 only if they are its images."""
    classes = content["classes"].tolist() if "classes" in content else []
    if "name" in content or "jpeg" not in content or classes != list(CIFAR10_CLASSES):
        return _text(content, "name", path.stem)
    digest = hashlib.sha256()
    for key, dtype in (("jpeg", "u1"), ("labels", "u1"), ("n_train", "<i8")):
        digest.update(content[key].astype(dtype).tobytes())
    if digest.hexdigest() != CIFAR10_JPEG_SHA256:
        raise ValueError("it has CIFAR-10's class names, but not the images known to be CIFAR-10's: give it a `name`")
    return "CIFAR-10 (JPEG copy)"


def _text(content: dict[str, NDArray[Any]], key: str, default: str) -> str:
    if key not in content:
        return default
    if content[key].dtype.kind != "U" or content[key].size != 1 or not content[key].item().strip():
        raise ValueError(f"`{key}` must be one text that is not empty, got {content[key].tolist()!r}")
    return str(content[key].item())


def _decoded(content: dict[str, NDArray[Any]]) -> tuple[Images, Labels, Images, Labels]:
    """The arrays of an npz file of image files, checked and decoded."""
    jpeg, offsets, labels, n_train = (content[key] for key in ("jpeg", "offsets", "labels", "n_train"))
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
        raise ValueError(f"`jpeg` must be uint8 of one axis, got {jpeg.dtype}{jpeg.shape}")
    if n_train.dtype.kind not in "iu" or n_train.size != 1 or not 0 < int(n_train.item()) < len(labels):
        raise ValueError(f"`n_train` must be an integer in 1..{len(labels) - 1}, got {n_train.tolist()!r}")
    ends = offsets.astype(np.int64) if offsets.dtype.kind in "iu" else np.array([])
    if ends.shape != (len(labels) + 1,) or ends[0] != 0 or ends[-1] != len(jpeg) or (np.diff(ends) <= 0).any():
        raise ValueError(
            f"`offsets` must be {len(labels) + 1} increasing integers from 0 to {len(jpeg)}, got"
            f" {offsets.dtype}{offsets.shape}"
        )
    pixels, n = _decode(jpeg.tobytes(), ends.tolist()), int(n_train.item())
    return _split(pixels[:n], labels[:n], pixels[n:], labels[n:])


def _decode(stream: bytes, offsets: list[int]) -> NDArray[np.uint8]:
    from PIL import Image
    from tqdm import tqdm

    pixels: list[NDArray[np.uint8]] = []
    first = None
    for start, end in tqdm(pairwise(offsets), "decoding", len(offsets) - 1, unit="image", leave=False, disable=None):
        try:
            with Image.open(io.BytesIO(stream[start:end])) as image:
                kind = (image.mode, *image.size)
                pixels.append(np.asarray(image).ravel())
        except Exception as error:  # as in _npz_content
            raise ValueError(f"image {len(pixels)} cannot be decoded: {error}") from error
        first = first or kind
        if kind[0] not in ("L", "RGB") or kind != first:
            raise ValueError(
                f"all images must be of one size, and all grey (L) or all RGB; image {len(pixels) - 1} is"
                f" {kind[0]} of {kind[1]} x {kind[2]} pixels, image 0 is {first[0]} of {first[1]} x {first[2]}"
            )
    return np.stack(pixels)


def _split(
    x_train: NDArray[Any], y_train: NDArray[Any], x_test: NDArray[Any], y_test: NDArray[Any]
) -> tuple[Images, Labels, Images, Labels]:
    """Byte images as float32 rows in [0, 1], beside their labels, which `Dataset` checks."""
    for name, x in (("x_train", x_train), ("x_test", x_test)):
        if x.dtype != np.uint8 or not x.size or x.ndim < 2:
            raise ValueError(f"{name} must be uint8 of shape (images, ...), got {x.dtype}{x.shape}")
    if x_train.shape[1:] != x_test.shape[1:]:
        sizes = f"{x_train.shape[1:]} to train and {x_test.shape[1:]} to test"
        raise ValueError(f"all images must be of one size, got {sizes}")
    pixels, test_pixels = (np.divide(x.reshape(len(x), -1), 255, dtype=np.float32) for x in (x_train, x_test))
    return pixels, y_train, test_pixels, y_test


def _fetch(path: Path, md5: str, mirrors: tuple[str, ...]) -> Path:
    """`path` with that checksum, downloaded from the first mirror that answers if it is not there yet."""
    reasons = []
    try:
        if path.is_file():
            if _md5(path) == md5:
                return path
            reasons = [f"the file there has another checksum than {md5}: it is truncated or altered"]
    except OSError as error:  # it may not be read
        reasons = [str(error)]
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
