"""A folder of plain files: safetensors for tensors, Parquet for tables, JSON for the rest. Nothing executable.

Every writer is deterministic: the same content gives the same bytes.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import torch


class Folder:
    """Reads and writes the files of an artifact by name, without their endings."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        """The path of the file `name` (with its ending); its folder exists afterwards."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def folder(self, name: str) -> "Folder":
        """A folder inside this one."""
        return Folder(self.root / name)

    def write_table(self, name: str, table: "pd.DataFrame", schema: "pa.Schema") -> None:
        """Write `table` as Parquet with exactly the columns and types of `schema`, without an index."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        arrow = pa.Table.from_pandas(table[schema.names], schema=schema, preserve_index=False)
        pq.write_table(arrow.replace_schema_metadata(schema.metadata), self.path(f"{name}.parquet"))

    def read_table(self, name: str) -> "pd.DataFrame":
        """The Parquet table `name`."""
        import pandas as pd

        return pd.read_parquet(self.root / f"{name}.parquet")

    def write_tensors(self, name: str, tensors: "dict[str, torch.Tensor]") -> None:
        """Write named tensors as safetensors."""
        from safetensors.torch import save_file

        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, self.path(f"{name}.safetensors"))

    def read_tensors(self, name: str) -> "dict[str, torch.Tensor]":
        """The tensors of the file `name`, on the host, mapped from disk: large ones are not copied."""
        from safetensors.torch import load_file

        return load_file(self.root / f"{name}.safetensors")

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values as indented JSON; NaN and infinity are refused with a ValueError."""
        text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
        self.path(f"{name}.json").write_text(text + "\n", encoding="utf-8")

    def read_json(self, name: str) -> Any:
        """The values of the JSON file `name`."""
        return json.loads((self.root / f"{name}.json").read_text(encoding="utf-8"))
