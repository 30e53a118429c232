"""Being asked to stop, by real signals: the first asks, the second ends."""

import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from fedsyn import interruption
from fedsyn.interruption import Interrupted
from tests.processes import ROOT, python, said

WORK = """
import itertools, sys, time
from fedsyn import interruption
with interruption.listening():
    print("at work", flush=True)
    try:
        while True:
            time.sleep(0.01)
            if "deaf" not in sys.argv:
                interruption.check()
    except interruption.Interrupted as error:
        print(interruption.requested(), flush=True)
        print(error, flush=True)
print(interruption.requested(), flush=True)
sys.exit(interruption.EXIT_CODE)
"""


def test_what_was_asked_inside_holds_until_the_outermost_context_is_left():
    with interruption.listening():
        with interruption.listening():
            signal.raise_signal(signal.SIGTERM)
        assert interruption.requested() == "SIGTERM"
        with interruption.listening(), pytest.raises(Interrupted):
            interruption.check()
    assert interruption.requested() is None


@pytest.mark.parametrize("number", interruption.SIGNALS)
def test_the_first_signal_asks_and_the_work_stops_where_it_looks(number):
    with python(WORK) as child:
        assert said(child) == "at work"
        child.send_signal(number)
        assert said(child) == number.name
        assert said(child).startswith(f"stopped by {number.name}; what is done is kept")
        assert said(child) == "None"  # once it is over, nobody asks any more
        assert child.wait(60) == 75
        assert f"{number.name}: stopping after this batch; once more to stop at once" in child.stderr.read()


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)],
)
def test_the_second_signal_ends_the_process_at_once(first, second):
    with python(WORK, "deaf") as child:
        assert said(child) == "at work"
        child.send_signal(first)
        assert child.stderr.readline() == "\n"
        assert child.stderr.readline().startswith(f"{first.name}: stopping")
        assert child.poll() is None
        child.send_signal(second)
        assert child.wait(60) == 128 + second


def test_a_signal_that_cannot_be_told_to_anybody_still_asks():
    """Standard error may be a pipe whose reader is gone: `fedsyn run 2>&1 | head`."""
    with python(WORK) as child:
        assert said(child) == "at work"
        child.stderr.close()
        child.send_signal(signal.SIGTERM)
        assert said(child) == "SIGTERM"
        assert child.wait(60) == 75


def test_without_listening_a_signal_means_what_it_always_did():
    code = "from fedsyn import interruption\nwith interruption.listening(): pass\nprint('ready', flush=True)\ninput()"
    with python(code) as child:
        assert said(child) == "ready"
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == -signal.SIGTERM


def test_handlers_are_put_back_whatever_happens():
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with suppress(ZeroDivisionError), interruption.listening():
        assert [signal.getsignal(number) for number in interruption.SIGNALS] != before
        signal.raise_signal(signal.SIGINT)
        assert interruption.requested() == "SIGINT"
        raise ZeroDivisionError
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before
    assert interruption.requested() is None
    interruption.check()


def test_check_raises_until_it_is_over():
    with interruption.listening():
        interruption.check()
        signal.raise_signal(signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(Interrupted, match="SIGTERM"):
                interruption.check()


def test_what_fails_after_a_signal_is_told_as_an_interruption():
    with interruption.listening():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted, match="SIGTERM") as caught, interruption.told():
            raise BrokenPipeError("a worker is gone")
    assert isinstance(caught.value.__context__, BrokenPipeError)


def test_what_fails_without_a_signal_is_told_as_it_is():
    with interruption.listening():
        with pytest.raises(BrokenPipeError), interruption.told():
            raise BrokenPipeError
        with pytest.raises(Interrupted, match="before"), interruption.told():
            raise Interrupted("before")


def test_a_signal_does_not_stop_what_succeeds():
    done = []
    with interruption.listening(), interruption.told():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest")
    assert done == ["the rest"]


def test_in_a_thread_listening_changes_nothing():
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    seen = []

    def listen() -> None:
        with interruption.listening():
            seen.extend(signal.getsignal(number) for number in interruption.SIGNALS)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == before


def test_a_request_reaches_the_threads_of_the_process():
    raised = threading.Event()

    def work() -> None:
        try:
            interruption.check()
        except Interrupted:
            raised.set()

    with interruption.listening():
        signal.raise_signal(signal.SIGINT)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert raised.is_set()


def test_listening_does_not_pay_for_pytorch():
    code = "import sys, fedsyn.interruption; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).stdout == b"False\n"
