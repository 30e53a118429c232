"""A store with one whole run of the digits preset: true keys, settings and inputs, and one small file each."""

import gc
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from fedsyn.artifacts import Input, Store
from fedsyn.cli import app
from fedsyn.cli.shared import console
from fedsyn.data.catalogue import fingerprint
from fedsyn.graph import STAGES
from fedsyn.pipeline import keys
from fedsyn.presets import load_experiment
from tests import handmade

EXPERIMENT = load_experiment("digits")
KEYS = keys(EXPERIMENT)


def publish_run(store: Store) -> None:
    made: dict[str, Input] = {}
    for number, stage in enumerate(STAGES):
        artifact = handmade.publish(
            store,
            lambda folder, name=stage.name: folder.write_json("stage", name),
            stage.name,
            KEYS[stage.name],
            {name: made[name] for name in stage.inputs},
            config=stage.key_fields(EXPERIMENT),
            version=stage.version,
            fingerprint=fingerprint(EXPERIMENT.dataset) if stage.name == "dataset" else None,
            metrics={"measured": 0.25},
            finished=handmade.MOMENT + timedelta(seconds=number),
        )
        made[stage.name] = Input(key=artifact.manifest.key, digest=artifact.manifest.digest)


@pytest.fixture
def run_store(tmp_path) -> Store:
    store = Store(tmp_path / "store")
    publish_run(store)
    return store


def invoke(*arguments: object):
    """The command's result, in a terminal that is wide enough for every line."""
    console.width = 300
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "300"})
    gc.enable()  # a command that is about to end switches the collector off
    return result
