"""A forged artifact, sealed as if it were real, cannot have anything run: what holds code is not read."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from fedsyn.artifacts import Artifact, Folder
from fedsyn.stages.autoencoder import load_autoencoder
from tests.handmade import KEY, publish
from tests.processes import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")  # what libraries say about files that are none of theirs


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def bomb(tmp_path):
    """A pickle, and what shows that somebody has read it."""
    mark = tmp_path / "exploded"
    content = pickle.dumps(Bomb(mark))
    pickle.loads(content)
    assert mark.exists()
    mark.rmdir()
    return content, mark


READERS: dict[str, Callable[[Artifact], object]] = {
    "file.json": lambda artifact: artifact.read_json("file"),
    "file.parquet": lambda artifact: artifact.read_table("file"),
    "file.safetensors": lambda artifact: artifact.read_tensors("file"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pickle_in_place_of_a_file_is_refused_unread(store, bomb, name):
    content, mark = bomb
    artifact = publish(store, lambda folder: folder.path(name).write_bytes(content))
    assert store.find("stage", KEY) is not None  # its seal is right
    with pytest.raises(Exception):  # noqa: B017, PT011 (every library has its own)
        READERS[name](artifact)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"])
def test_a_model_is_not_read_from_a_pickle(store, bomb, name):
    content, mark = bomb

    def forge(folder: Folder) -> None:
        config = {"_class_name": "AutoencoderKL", "block_out_channels": [8], "norm_num_groups": 8}
        folder.write_json("vae/config", config)
        folder.path(f"vae/{name}").write_bytes(content)
        folder.write_json("codec", {"kind": "kl"})

    artifact = publish(store, forge)
    with pytest.raises(OSError, match=r"safetensors|Unable to load|no file named"):
        load_autoencoder(artifact)
    assert not mark.exists()


WATCH = """
import json, sys
from fedsyn.artifacts import Store
store = Store(sys.argv[1])

def read(key):
    artifact = store.find("stage", key)
    return artifact.read_json("file"), artifact.read_table("file"), artifact.read_tensors("file")

read("a" * 24)  # imports what reading needs
DANGEROUS = ("exec", "compile", "import", "marshal.loads", "pickle.find_class", "subprocess.Popen", "os.system",
             "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "ctypes.dlopen")
seen = []
sys.addaudithook(lambda event, arguments: seen.append(event) if event in DANGEROUS else None)
read("b" * 24)
sys.stdout.write(json.dumps(seen))
"""


def test_opening_and_reading_an_artifact_runs_nothing_and_asks_nobody(store):
    def write(folder: Folder) -> None:
        import torch

        folder.write_json("file", {"answer": 42})
        folder.write_table("file", pd.DataFrame({"a": [1, 2]}), pa.schema([("a", pa.int64())]))
        folder.write_tensors("file", {"weight": torch.ones(3)})

    for key in ("a" * 24, "b" * 24):
        publish(store, write, key=key)
    command = [sys.executable, "-c", WATCH, str(store.root)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert json.loads(outcome.stdout) == [], outcome.stderr
