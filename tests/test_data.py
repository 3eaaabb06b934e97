"""Data: the normalisation starts layer 1 at q*, and no damaged file is ever read."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from afli import activations as act
from afli import data
from afli import meanfield as mf


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.mark.parametrize("sigma_b2", [1.0, 0.01, 1e-4])
@pytest.mark.parametrize("normalisation", ["sphere", "sphere-uncentred"])
def test_sphere_starts_layer_one_at_q_star_for_every_image(digits, normalisation, sigma_b2):
    net = mf.edge_of_chaos(act.shtanh(2.0), sigma_b2=sigma_b2)
    inputs = data.normalised(digits, normalisation)
    scale = data.input_scale(normalisation, q=net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    for x in (inputs.x_train, inputs.x_test):
        first = net.sigma_w2 * np.mean((scale * x.astype(np.float64)) ** 2, axis=1) + net.sigma_b2
        np.testing.assert_allclose(first, net.q, rtol=1e-6)


def test_sphere_keeps_directions_from_the_training_mean(digits):
    inputs = data.normalised(digits)
    centred = digits.x_test.astype(np.float64) - digits.x_train.mean(axis=0, dtype=np.float64)
    cosine = (
        np.sum(centred * inputs.x_test, axis=1)
        / np.linalg.norm(centred, axis=1)
        / np.linalg.norm(inputs.x_test, axis=1)
    )
    np.testing.assert_allclose(cosine, 1, rtol=1e-6)


def test_authors_inputs_are_pixels_times_root_q_and_start_below_q(digits):
    net = mf.edge_of_chaos(act.shtanh(2.0), sigma_b2=0.1)
    scale = data.input_scale("authors", q=net.q, sigma_w2=net.sigma_w2, sigma_b2=net.sigma_b2)
    assert scale == pytest.approx(net.q**0.5)
    assert data.normalised(digits, "authors") is digits
    first = net.sigma_w2 * np.mean((scale * digits.x_train) ** 2, axis=1) + net.sigma_b2
    assert first.mean() < 0.7 * net.q


def test_digits_are_split_without_overlap_and_parity_is_their_parity(digits):
    assert digits.x_train.shape == (1437, 64)
    assert digits.x_test.shape == (360, 64)
    assert digits.x_train.min() == 0
    assert digits.x_train.max() == 1
    assert set(digits.y_train) == set(digits.y_test) == set(range(10))
    parity = data.load("digit-parity")
    np.testing.assert_array_equal(parity.y_train, digits.y_train % 2)
    assert (parity.classes, digits.classes, digits.features) == (2, 10, 64)


def test_wrong_names_and_ranges_are_named():
    with pytest.raises(ValueError, match=r"name must be one of digits.*'svhn'"):
        data.load("svhn")
    with pytest.raises(ValueError, match="normalisation must be one of sphere"):
        data.input_scale("cube", q=1.0, sigma_w2=1.0, sigma_b2=0.0)
    with pytest.raises(ValueError, match=r"q=0\.1"):
        data.input_scale("sphere", q=0.1, sigma_w2=1.0, sigma_b2=0.2)


def test_an_image_equal_to_the_mean_cannot_be_scaled():
    x = np.array([[0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    flat = data.Dataset("flat", x, np.array([0, 1]), x[:1] + 0.5, np.array([0]), "made here")
    with pytest.raises(ValueError, match="image 0 of flat"):
        data.normalised(flat)


# --- npz ---


@pytest.fixture
def raw(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        f"x_{part}": rng.integers(0, 256, (count, 4, 4, 3), np.uint8) for part, count in (("train", 6), ("test", 3))
    }
    labels = {"y_train": np.arange(6) % 3, "y_test": np.arange(3)}
    path = tmp_path / "small.npz"
    np.savez(path, **arrays, **labels, name="small images")
    return path, arrays


def test_npz_of_raw_images(raw):
    path, arrays = raw
    dataset = data.load(f"npz:{path}")
    assert dataset.name == "small images"
    np.testing.assert_array_equal(dataset.x_train, arrays["x_train"].reshape(6, 48).astype(np.float32) / 255)
    assert dataset.y_test.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.array([0.9, 1, 2, 0, 1, 2])}, "labels must be integers from 0 on, got float64"),
        ({"y_test": np.array([0, -1, 2])}, "labels must be integers from 0 on, got int64, the lowest -1"),
        ({"x_test": np.zeros((3, 5, 5, 3), np.uint8)}, r"all images must be of one size, got \(4, 4, 3\) to train"),
    ],
)
def test_labels_and_images_that_cannot_be_meant_are_refused(raw, change, message):
    path, arrays = raw
    labels = {"y_train": np.arange(6) % 3, "y_test": np.arange(3)}
    np.savez(path, **(arrays | labels | change))
    with pytest.raises(data.DataError, match=message):
        data.load(f"npz:{path}")


def test_npz_of_jpegs(tmp_path):
    from PIL import Image

    files = []
    for level in (0, 85, 170, 255):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), (level, level, level)).save(stream, "jpeg")
        files.append(np.frombuffer(stream.getvalue(), np.uint8))
    offsets = np.cumsum([0, *map(len, files)])
    contents = {"jpeg": np.concatenate(files), "offsets": offsets, "labels": np.arange(4), "n_train": 3}
    path = tmp_path / "grey.npz"
    np.savez(path, **contents)
    dataset = data.load(f"npz:{path}")
    assert dataset.name == "grey"
    np.testing.assert_allclose(dataset.x_train.mean(axis=1), [0, 1 / 3, 2 / 3], atol=0.01)
    np.savez(path, **contents, classes=np.array(data.CIFAR10_CLASSES))
    assert data.load(f"npz:{path}").name == "CIFAR-10 (JPEG copy)"
    contents["jpeg"][offsets[1] : offsets[1] + 50] = 0
    np.savez(path, **contents)
    with pytest.raises(data.DataError, match="image 1"):
        data.load(f"npz:{path}")


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_npz_is_refused(raw, damage):
    path, _ = raw
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[300] ^= 255
    path.write_bytes(content)
    with pytest.raises(data.DataError, match="truncated or altered"):
        data.load(f"npz:{path}")


def test_an_npz_without_the_keys_or_the_file_itself(tmp_path):
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(data.DataError, match="must hold the keys"):
        data.load(f"npz:{tmp_path / 'other.npz'}")
    with pytest.raises(data.DataError, match="there is no file"):
        data.load(f"npz:{tmp_path / 'nowhere.npz'}")


# --- Downloads, from a server on this machine ---


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """A folder, and the address that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}/"
        http.shutdown()


def _cifar_archive(path: Path) -> np.ndarray:
    """A tiny archive in the layout of the official one; returns its records."""
    records = np.random.default_rng(1).integers(0, 10, (12, 3073), np.uint8)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    with tarfile.open(path, "w:gz") as tar:
        for index, name in enumerate(names):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            content = records[2 * index : 2 * index + 2].tobytes()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return records


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar10_is_downloaded_once_and_read(server, tmp_path, monkeypatch):
    folder, address = server
    records = _cifar_archive(folder / "cifar-10-binary.tar.gz")
    monkeypatch.setattr(data, "CIFAR10", ("cifar-10-binary.tar.gz", _md5(folder / "cifar-10-binary.tar.gz")))
    monkeypatch.setattr(data, "CIFAR10_MIRRORS", ("http://127.0.0.1:9/", address))  # the first mirror is down
    monkeypatch.setenv("AFLI_DATA", str(tmp_path / "cache"))
    dataset = data.load("cifar10")
    assert dataset.x_train.shape == (10, 3072)
    np.testing.assert_array_equal(dataset.y_test, records[10:, 0])
    np.testing.assert_array_equal(dataset.x_test, records[10:, 1:].astype(np.float32) / 255)
    (folder / "cifar-10-binary.tar.gz").unlink()
    assert data.load("cifar10").sha256 == dataset.sha256  # from the cache


def test_mnist_idx_files_are_read(server, tmp_path, monkeypatch):
    folder, address = server
    images, labels = np.arange(3 * 4, dtype=np.uint8).reshape(3, 2, 2), np.array([4, 0, 2], np.uint8)
    files = []
    for name, array in (("a.gz", images), ("b.gz", labels), ("c.gz", images[:1]), ("d.gz", labels[:1])):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
        (folder / name).write_bytes(gzip.compress(header + array.tobytes()))
        files.append((name, _md5(folder / name)))
    monkeypatch.setattr(data, "MNIST", tuple(files))
    monkeypatch.setattr(data, "MNIST_MIRRORS", (address,))
    dataset = data.load("mnist", root=tmp_path / "cache")
    np.testing.assert_array_equal(dataset.x_train, images.reshape(3, 4).astype(np.float32) / 255)
    assert dataset.y_train.tolist() == [4, 0, 2]
    assert (dataset.x_test.shape, dataset.y_test.tolist()) == ((1, 4), [4])


@pytest.mark.parametrize("name", ["cifar10", "mnist", "fashion-mnist"])
def test_offline_the_error_says_which_file_to_put_where(tmp_path, monkeypatch, name):
    for mirrors in ("CIFAR10_MIRRORS", "MNIST_MIRRORS", "FASHION_MNIST_MIRRORS"):
        monkeypatch.setattr(data, mirrors, ("http://127.0.0.1:9/",))  # nobody listens there
    with pytest.raises(
        data.DataError, match=rf"{tmp_path}.*gz is needed: put the file .* \(md5 [0-9a-f]{{32}}\) there"
    ):
        data.load(name, root=tmp_path)


def test_a_truncated_download_is_refused_and_never_read(server, tmp_path, monkeypatch):
    folder, address = server
    _cifar_archive(folder / "cifar-10-binary.tar.gz")
    whole = (folder / "cifar-10-binary.tar.gz").read_bytes()
    monkeypatch.setattr(data, "CIFAR10", ("cifar-10-binary.tar.gz", hashlib.md5(whole).hexdigest()))
    monkeypatch.setattr(data, "CIFAR10_MIRRORS", (address,))
    (folder / "cifar-10-binary.tar.gz").write_bytes(whole[:-100])
    with pytest.raises(data.DataError, match=r"cifar-10-binary\.tar\.gz"):
        data.load("cifar10", root=tmp_path / "cache")
    kept = tmp_path / "cache" / "cifar-10-binary.tar.gz"
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(whole[:-100])  # a user's own truncated copy
    with pytest.raises(data.DataError, match="truncated or altered"):
        data.load("cifar10", root=tmp_path / "cache")
    kept.write_bytes(whole)
    assert data.load("cifar10", root=tmp_path / "cache").classes <= 10


def test_another_split_exchanges_images_and_keeps_their_number():
    digits = data.load("digits")
    assert data.resplit(digits, 0) is digits
    other, third = data.resplit(digits, 1), data.resplit(digits, 2)
    assert (len(other.y_train), len(other.y_test)) == (len(digits.y_train), len(digits.y_test))

    def rows(dataset):
        x = np.concatenate([dataset.x_train, dataset.x_test])
        y = np.concatenate([dataset.y_train, dataset.y_test])
        return sorted(map(tuple, np.column_stack([x, y])))

    assert rows(other) == rows(digits)
    assert not np.array_equal(other.x_test, digits.x_test)
    assert not np.array_equal(other.x_test, third.x_test)
    assert data.resplit(digits, 1).sha256 == other.sha256


def test_what_is_held_out_is_not_trained_on():
    digits = data.load("digits")
    less, x, y = data.hold_out(digits, 0.2)
    assert len(y) == len(x) == round(0.2 * len(digits.y_train))
    assert np.array_equal(np.concatenate([less.x_train, x]), digits.x_train)
    assert np.array_equal(np.concatenate([less.y_train, y]), digits.y_train)
    assert less.x_test is digits.x_test
    whole, nothing, _ = data.hold_out(digits, 0.0)
    assert (len(whole.y_train), len(nothing)) == (len(digits.y_train), 0)
    with pytest.raises(ValueError, match="share must leave images on both sides"):
        data.hold_out(digits, 1e-6)
