"""A generation that can be stopped: images come in batches, and parts of them are kept on the way."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from fedsyn import interruption
from fedsyn.artifacts import Checkpoints

logger = logging.getLogger(__name__)

MOST_PENDING = 64
"""Batches that wait in memory at most."""


def generate_parts(
    total: int, batch_size: int, make: Callable[[int, int], pa.Table], parts: Checkpoints
) -> Iterator[pa.Table]:
    """The tables of all batches, in order: those that `parts` has from an earlier attempt, and new ones.

    `make(start, stop)` makes images [start, stop). A table is handed over when it is on disk, one row group a batch:
    memory does not grow with `total`. Whoever goes on after an interruption makes the same batches. Where a device's
    memory is too small for a batch, this and all later ones are made smaller, which may change images by rounding.

    Raises:
        Interrupted: a signal asked to stop; what was made is in `parts`.
    """
    chain = parts.chain()
    while (done := chain[-1].stop if chain else 0) < total:
        _make_the_rest(done, total, batch_size, make, parts)
        chain = parts.chain()  # read again: what a disk has lost meanwhile is made again
    for part in chain:
        file = pq.ParquetFile(part.path)
        yield from map(file.read_row_group, range(file.num_row_groups))


def _make_the_rest(
    done: int, total: int, batch_size: int, make: Callable[[int, int], pa.Table], parts: Checkpoints
) -> None:
    kept = done
    pending: list[pa.Table] = []

    def save() -> None:
        nonlocal kept
        if pending:
            parts.save(kept, done, "parquet", lambda path: _write(pending, path))
            kept = done
            pending.clear()

    try:
        while done < total:
            interruption.check()
            stop = min(done + batch_size, total)
            try:
                pending.append(make(done, stop))
            except torch.OutOfMemoryError:
                if stop - done == 1:
                    raise
                batch_size = (stop - done) // 2
                logger.warning("synthesis: out of memory; going on with %d images at once", batch_size)
                continue
            done = stop
            if parts.due() or len(pending) == MOST_PENDING:
                save()
    finally:
        save()


def _write(tables: list[pa.Table], path: Path) -> None:
    with pq.ParquetWriter(path, tables[0].schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
