"""What a run that was asked for by a form or a schedule may name on the machine that carries it out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsyn.config import OF_THE_MACHINE, Experiment, variable
from fedsyn.data.catalogue import data_folders


def refuse_other_places(experiment: Experiment, given: Mapping[str, Any]) -> None:
    """Refuse a store that is not the machine's own, and data that lie outside its data folders.

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
    root = experiment.dataset.root
    if root is None:
        return
    folders = [folder.expanduser().resolve() for folder in data_folders()]
    if not any(Path(root).expanduser().resolve().is_relative_to(folder) for folder in folders):
        raise ValueError(
            f"dataset.root must lie in a data folder of the machine ({', '.join(map(str, folders))}), got {root!r}; "
            "set FEDSYN_DATA where the worker is started to allow another one"
        )
