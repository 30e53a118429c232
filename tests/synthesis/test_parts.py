"""A generation that is stopped and gone on with: the tables of one in one piece, and no image made twice."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsyn import interruption
from fedsyn.artifacts import Checkpoints, Pace
from fedsyn.interruption import Interrupted
from fedsyn.synthesis.parts import MOST_PENDING, _write, generate_parts
from tests.processes import python, said

pytestmark = pytest.mark.timeout(120)  # a generation that loses what it keeps never ends

ALWAYS, NEVER = Pace(seconds=0.0), Pace(seconds=None)


def images(start: int, stop: int) -> pa.Table:
    """Images [start, stop) as a table."""
    numbers = range(start, stop)
    content = [{"bytes": bytes([number % 251]) * 5, "path": f"{number}.png"} for number in numbers]
    return pa.table({"index": list(numbers), "image": content, "agrees": [number % 3 == 0 for number in numbers]})


def batches(total: int, batch_size: int) -> list[pa.Table]:
    """What one run in one piece gives."""
    return [images(start, min(start + batch_size, total)) for start in range(0, total, batch_size)]


class Maker:
    """Makes images, counts them, and has something happen after image `fatal`."""

    def __init__(self) -> None:
        self.made: Counter[int] = Counter()
        self.fatal: int | None = None
        self.how = "signal"

    def __call__(self, start: int, stop: int) -> pa.Table:
        if self.fatal is not None and start >= self.fatal and self.how == "error":
            raise ZeroDivisionError
        if self.fatal is not None and stop >= self.fatal and self.how == "signal":
            interruption._asked[:] = ["SIGTERM"]
        self.made.update(range(start, stop))
        return images(start, stop)


@contextmanager
def nobody_asks() -> Iterator[None]:
    """Whatever is asked inside is forgotten afterwards."""
    try:
        yield
    finally:
        interruption._asked.clear()


def attempt(folder: Path, total: int, batch_size: int, make, pace: Pace = NEVER) -> list[pa.Table] | None:
    """The tables, or None where the attempt was stopped."""
    with nobody_asks(), suppress(Interrupted, ZeroDivisionError):
        return list(generate_parts(total, batch_size, make, Checkpoints(folder, pace)))
    return None


STOPS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["signal", "error"]), st.sampled_from([ALWAYS, NEVER])))


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(1, 8), STOPS, st.sampled_from([ALWAYS, NEVER]))
def test_stopped_anywhere_the_tables_are_those_of_one_piece_and_each_image_is_made_once(total, batch_size, stops, pace):
    make = Maker()
    with tempfile.TemporaryDirectory() as folder:
        for make.fatal, make.how, stopped_pace in stops:
            tables = attempt(Path(folder), total, batch_size, make, stopped_pace)
            assert tables is None or tables == batches(total, batch_size)
        make.fatal = None
        assert attempt(Path(folder), total, batch_size, make, pace) == batches(total, batch_size)
        assert make.made == Counter(range(total))
        again = attempt(Path(folder), total, batch_size, make, pace)
    assert again == batches(total, batch_size)
    assert make.made == Counter(range(total))


@settings(max_examples=25)
@given(st.data())
def test_damaged_parts_are_made_again_whatever_comes_after_them(data):
    total, batch_size, make = 24, 2, Maker()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(data.draw(st.integers(1, 4))):
            make.fatal = data.draw(st.integers(1, total))
            attempt(Path(folder), total, batch_size, make, data.draw(st.sampled_from([ALWAYS, NEVER])))
            parts = sorted(Path(folder).iterdir())
            for part in data.draw(st.sets(st.sampled_from(parts)) if parts else st.just(set())):
                os.truncate(part, part.stat().st_size // 2)
        make.fatal = None
        last = data.draw(st.sampled_from([ALWAYS, NEVER]))
        assert attempt(Path(folder), total, batch_size, make, last) == batches(total, batch_size)


def test_what_lies_before_a_damaged_part_is_not_made_again(tmp_path):
    make = Maker()
    attempt(tmp_path, 20, 2, make, ALWAYS)
    parts = sorted(tmp_path.iterdir())
    assert [part.name[:19] for part in parts][3] == "000000006-000000008"
    parts[3].write_bytes(b"damaged")
    assert attempt(tmp_path, 20, 2, make) == batches(20, 2)
    assert {index for index, times in make.made.items() if times > 1} == set(range(6, 20))


def test_parts_of_another_length_in_the_way_lose_no_image(tmp_path):
    """[4, 8) was lost. Who went from part to part by the longest step would go on from [8, 14), which leads nowhere."""
    parts = Checkpoints(tmp_path, NEVER)
    for start, stop in ((0, 4), (8, 14)):
        tables = batches(16, 2)[start // 2 : stop // 2]
        parts.save(start, stop, "parquet", lambda path, tables=tables: _write(tables, path))
    due = iter([False, True, True, False, False, False])
    parts.due = lambda rounds=0: next(due, False)  # so that [4, 8), [8, 10) and [10, 16) are kept
    make = Maker()
    assert list(generate_parts(16, 2, make, parts)) == batches(16, 2)
    assert make.made == Counter(range(4, 16))


def test_a_part_that_is_damaged_while_others_are_made_is_made_again(tmp_path, caplog):
    make = Maker()

    def harm(start: int, stop: int) -> pa.Table:
        if start == 16 and make.made[16] == 0:
            sorted(tmp_path.iterdir())[3].write_bytes(b"damaged")
        return make(start, stop)

    assert list(generate_parts(20, 2, harm, Checkpoints(tmp_path, ALWAYS))) == batches(20, 2)
    assert make.made[6] == 2
    assert make.made[5] == 1
    assert "is damaged" in caplog.text


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    most, parts = [0], Checkpoints(tmp_path, NEVER)

    def make(start: int, stop: int) -> pa.Table:
        most.append((stop - parts.units()) // 2)
        return images(start, stop)

    total = 2 * (3 * MOST_PENDING + 5)
    assert sum(len(table) for table in generate_parts(total, 2, make, parts)) == total
    assert max(most) == MOST_PENDING
    assert [found.stop for found in parts.chain()] == [128, 256, 384, total]


def test_each_batch_is_on_disk_before_the_first_table_is_handed_over(tmp_path):
    make = Maker()
    tables = generate_parts(6, 2, make, Checkpoints(tmp_path, NEVER))
    assert next(tables) == images(0, 2)
    assert make.made == Counter(range(6))
    assert Checkpoints(tmp_path).units() == 6


def test_a_request_is_heard_before_the_next_batch(tmp_path):
    make = Maker()
    make.fatal = 3
    with nobody_asks(), pytest.raises(Interrupted):
        list(generate_parts(10, 2, make, Checkpoints(tmp_path, NEVER)))
    assert make.made == Counter(range(4))
    assert Checkpoints(tmp_path).units() == 4


class SmallMemory(Maker):
    """Has room for `room` images at once, and tells which were asked for."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, stop: int) -> pa.Table:
        self.asked.append((start, stop))
        if stop - start > self.room:
            raise torch.OutOfMemoryError
        return super().__call__(start, stop)


def indices(tables: list[pa.Table]) -> list[int]:
    return [index for table in tables for index in table["index"].to_pylist()]


def test_where_memory_is_too_small_batches_get_smaller_and_stay_so(tmp_path, caplog):
    make = SmallMemory(room=4)
    tables = attempt(tmp_path, 20, 16, make)
    assert indices(tables) == list(range(20))
    assert make.made == Counter(range(20))
    assert make.asked == [(0, 16), (0, 8), *((start, start + 4) for start in range(0, 20, 4))]
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"synthesis: out of memory; going on with {number} images at once" for number in (8, 4)]


def test_memory_that_gets_smaller_on_the_way_costs_no_image_that_was_made(tmp_path):
    make = SmallMemory(room=8)

    def others_come(start: int, stop: int) -> pa.Table:
        make.room = 8 if start < 16 else 3
        return make(start, stop)

    assert indices(attempt(tmp_path, 24, 8, others_come)) == list(range(24))
    assert make.asked == [(0, 8), (8, 16), (16, 24), (16, 20), (16, 18), (18, 20), (20, 22), (22, 24)]
    assert make.made == Counter(range(24))


@settings(max_examples=40)
@given(st.integers(0, 30), st.integers(1, 16), st.lists(st.tuples(st.integers(1, 16), st.integers(0, 30)), max_size=4))
def test_with_little_memory_and_interruptions_every_image_is_made_once(total, batch_size, attempts):
    make = SmallMemory(room=1)
    with tempfile.TemporaryDirectory() as folder:
        for make.room, make.fatal in attempts:
            attempt(Path(folder), total, batch_size, make)
        make.room, make.fatal = 1, None
        assert indices(attempt(Path(folder), total, batch_size, make)) == list(range(total))
    assert make.made == Counter(range(total))


def test_one_image_that_does_not_fit_is_an_error_which_a_larger_memory_mends(tmp_path):
    make = SmallMemory(room=0)
    with pytest.raises(torch.OutOfMemoryError):
        attempt(tmp_path, 6, 4, make)
    assert make.asked == [(0, 4), (0, 2), (0, 1)]
    make.room = 4
    assert indices(attempt(tmp_path, 6, 4, make)) == list(range(6))


KILLED = """
import sys
from pathlib import Path
from fedsyn.artifacts import Checkpoints, Pace
from fedsyn.synthesis.parts import generate_parts
from tests.synthesis.test_parts import images
def make(start, stop):
    print(start, flush=True)
    if start == 10:
        input()
    return images(start, stop)
list(generate_parts(20, 2, make, Checkpoints(Path(sys.argv[1]), Pace(seconds=0.0))))
"""


def test_killed_in_the_middle_only_the_batch_at_hand_is_lost(tmp_path):
    with python(KILLED, tmp_path) as child:
        while said(child) != "10":
            pass
        child.kill()
    make = Maker()
    assert attempt(tmp_path, 20, 2, make) == batches(20, 2)
    assert make.made == Counter(range(10, 20))
