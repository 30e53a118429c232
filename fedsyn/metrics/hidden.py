"""The true labels of the unlabelled pool: for metrics, and for the oracle that bounds what selection can reach."""

import numpy as np
import pandas as pd

from fedsyn.artifacts import Artifact


def hidden_labels(partition: Artifact, sample_ids: pd.Series) -> np.ndarray:
    """The true labels of unlabelled samples, in the order of `sample_ids`."""
    table = partition.read_table("hidden_labels").set_index("sample_id")["label"]
    return table.loc[sample_ids].to_numpy()
