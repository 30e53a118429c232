"""How a run is carried out. Nothing here enters a key, and nothing here changes a result by more than rounding."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from fedsyn.artifacts.opening import CACHE, CACHE_GIB
from fedsyn.config.section import Positive, Section

OF_THE_MACHINE = ("store", "cache", "cache_gib", "ray_address")
"""Fields that name a machine's places: its owner says them (FEDSYN_STORE, ...), and no form offers them."""


class Execution(Section):
    """How a run is carried out. Nothing here enters a key."""

    store: str = Field("artifacts", description="The artifact store: a folder, or a URL like s3://bucket/folder")
    cache: str = Field(CACHE, description="Folder for local copies of the artifacts of a store that is a URL")
    cache_gib: float = Field(
        CACHE_GIB, gt=0, description="GiB that the local copies may take; those used least recently are deleted first"
    )
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto, cpu, cuda or cuda:N")
    threads: Positive | None = Field(None, description="Threads inside an operation on a CPU; empty: all cores")
    engine: Literal["auto", "sequential", "processes", "vectorized", "ray"] = Field(
        "auto",
        description="How the clients of a round are trained. `sequential`: one after the other; `processes`: by "
        "workers on this machine; `vectorized`: stacked on a GPU; `ray`: by workers on a Ray cluster; `auto` picks",
    )
    workers: Positive | None = Field(
        None, description="Workers of `processes` and `ray`; empty: one a core, or one a GPU where there are several"
    )
    checkpoint_seconds: float | None = Field(
        30.0,
        ge=0,
        description="Seconds between two checkpoints inside a stage, more where one takes long (at most 1 % of the "
        "time goes into them); empty: none by time",
    )
    checkpoint_rounds: Positive | None = Field(
        None, description="Rounds of training between two checkpoints; empty: by time alone"
    )
    clients_per_group: Positive = Field(32, description="Clients that `vectorized` trains at once")
    compile: bool = Field(False, description="Compile the loss with torch.compile; may change the last bits")
    ray_address: str | None = Field(
        None, description="Address of a Ray cluster (`auto`, host:port or ray://host:port); empty: one on this machine"
    )
    gpus_per_worker: float = Field(
        0.0, ge=0, description="GPUs, or parts of one, that a worker of `ray` asks for; 0: it trains on CPUs"
    )

    @classmethod
    def on(cls, environment: Mapping[str, str], given: Mapping[str, Any] | None = None) -> "Execution":
        """What was `given`; for the rest what a machine's environment says (FEDSYN_STORE, FEDSYN_DEVICE, FEDSYN_THREADS
        and so on, one for each field), and the defaults where it says nothing.

        Raises:
            ValidationError: a value cannot be used.
        """
        variables = {name: environment.get(variable(name), "") for name in cls.model_fields}
        return cls.model_validate({name: value for name, value in variables.items() if value} | dict(given or {}))


def variable(field: str) -> str:
    """The environment variable that says a machine's own value of a field."""
    return f"FEDSYN_{field.upper()}"
