"""Randomness is a name, not a stream: every draw comes from a generator keyed by what the draw is for.

No order of clients, batch size, engine, device or interruption can change a draw, because no draw comes after
another one. All draws are made by NumPy on the host: the names are hashed to the 128-bit key of a Philox
counter generator (Salmon et al., 2011), so streams never collide, and a GPU run draws what a CPU run draws.
"""

import hashlib
import json

import numpy as np


def generator(
    seed: int,
    stage: str,
    purpose: str,
    *,
    round_index: int | None = None,
    client_id: int | None = None,
    class_id: int | None = None,
    index: int | None = None,
) -> np.random.Generator:
    """The generator of one named draw; the same names give the same stream, other names an independent one."""
    name = json.dumps([seed, stage, purpose, round_index, client_id, class_id, index])
    key = hashlib.sha256(name.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
