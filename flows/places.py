"""What a run that was asked for by a form or a schedule may name on the machine that carries it out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsyn.config import OF_THE_MACHINE, Experiment, variable
from fedsyn.data.catalogue import data_folders


def refuse_other_places(experiment: Experiment, given: Mapping[str, Any]) -> None:
    """Refuse a store that is not the machine's own, and files or folders that lie outside its data folders.

    `given`: the fields of the execution that were asked for.

    Raises:
        ValueError: the message names the field, its value and the way out.
    """
    for name in OF_THE_MACHINE:
        if name in given:
            raise ValueError(
                f"execution.{name} cannot be named by a deployment's run, got {given[name]!r}: set {variable(name)} "
                "where the worker is started, or in the deployment's job variables"
            )
    places = {
        "dataset.root": experiment.dataset.root,
        "autoencoder.pretrained": experiment.autoencoder.pretrained,
        "quality.inception": experiment.quality.inception,
    }
    folders = [folder.expanduser().resolve() for folder in data_folders()]
    for field, place in places.items():
        if place is not None and not any(map(Path(place).expanduser().resolve().is_relative_to, folders)):
            raise ValueError(
                f"{field} must lie in a data folder of the machine ({', '.join(map(str, folders))}), got {place!r}; "
                "set FEDSYN_DATA where the worker is started to allow another one"
            )
