"""A lock between machines that share nothing but an object store: a chain of numbered claims.

`<folder>/000000007.json` is a claim. The highest number holds. A claim is only ever created, on condition that there is
none of its number, and never overwritten, so of two who want the same number the server lets one have it; this is all
that is asked of it, so that every store that can create on condition will do. Whoever holds claims the next number
again and again. Whoever waits and sees one claim for a whole duration by its own clock takes its holder for dead and
claims the next number. So no clock is compared with another, and who was asleep too long finds its number taken.

A lease spares work; the store stays right without: an artifact's manifest is created on condition too.
"""

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from fedsyn.artifacts.lock import Holder
from fedsyn.artifacts.objects import Objects
from fedsyn.artifacts.store import StoreError
from fedsyn.artifacts.work import wait

logger = logging.getLogger(__name__)

CLAIM = re.compile(r"(\d{9})\.json")

LARGEST = 2**16
"""Bytes of a claim that are read."""

RENEWALS = 3
"""How often a claim is renewed in the time after which it would lapse."""


class Lease:
    """The right to make one artifact, for as long as it is renewed."""

    def __init__(self, objects: Objects, folder: str, duration: float) -> None:
        self.objects, self.folder, self.duration = objects, folder, duration
        self._claim = json.dumps({"holder": asdict(Holder.here()), "token": uuid.uuid4().hex}).encode()
        self._number = 0
        self._lost = False
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._seen: tuple[int, bytes | None] = (0, None)
        self._since = 0.0

    @contextmanager
    def held(self, name: str) -> Iterator["Lease"]:
        """Hold the lease, renewed by a thread; where another run does, wait for it and say so.

        Raises:
            StoreError: the store cannot be reached, or lets two create the same object.
            Interrupted: a signal asked to stop meanwhile.
        """
        wait(self.acquire, self.holder, name)
        thread = threading.Thread(target=self._keep_renewing, args=(name,), name=f"lease of {name}", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(self.duration)
            if not thread.is_alive():  # otherwise the store does not answer, and the claim lapses by itself
                self.release()

    def acquire(self) -> bool:
        """Take the lease if it is free or its holder dead. Returns whether it was.

        Raises:
            StoreError: the store cannot be reached, or lets two create the same object.
        """
        newest = max(self._numbers(), default=0)
        if newest and not self._lapsed(newest):
            return False
        if not self._follow(newest):
            return False
        if self.objects.create(self._name(self._number), b""):
            self.objects.delete(self._name(self._number))
            raise StoreError(
                f"store {self.objects.url}: its server overwrites an object that was to be created only if there is "
                "none, so that two runs could work on one artifact; use a server with conditional writes, or a folder"
            )
        return True

    def holder(self) -> Holder | None:
        """Who says to hold the lease, as far as it was seen."""
        try:
            return Holder(**json.loads(self._seen[1] or b"")["holder"])
        except (ValueError, TypeError, KeyError):
            return None

    def check(self) -> None:
        """Stop here who is known to have lost the lease.

        Raises:
            StoreError: it is lost.
        """
        if self._lost:
            raise StoreError(
                f"{self.folder.rpartition('/')[0]}: another run took over, because this one was not heard of for "
                f"{self.duration:g} s (asleep, or without network); it is going on with the same; run again to wait "
                "for it"
            )

    def confirm(self) -> None:
        """Make sure that the lease is held at this moment.

        Raises:
            StoreError: it is lost, or the store cannot be reached.
        """
        self._renew()
        self.check()

    def release(self) -> None:
        """Let go of it; what another has taken over is left alone."""
        try:
            if not self._lost:
                self.objects.delete(self._name(self._number))
        except StoreError as error:
            logger.warning("%s; its lease lapses in %g s", error, self.duration)

    def _renew(self) -> None:
        with self._guard:
            if self._lost:
                return
            ours = self.objects.read(self._name(self._number), LARGEST) == self._claim
            self._lost = not (ours and self._follow(self._number))

    def _keep_renewing(self, name: str) -> None:
        failing = False
        while not self._over.wait(self.duration / RENEWALS):
            try:
                self._renew()
                failing = False
            except StoreError as error:  # without network nobody is sure; the next try tells
                if not failing:
                    logger.warning("%s: its lease could not be renewed: %s", name, error)
                failing = True
            if self._lost:
                logger.warning("%s: its lease was taken over by another run", name)
                return

    def _follow(self, number: int) -> bool:
        """Claim the number after `number`, which must not have been let go of meanwhile. Returns whether it is ours."""
        ours = number + 1
        if not self.objects.create(self._name(ours), self._claim):
            return False
        there = self._numbers()
        if max(there, default=0) != ours or (number and number not in there):
            self.objects.delete(self._name(ours))
            return False
        self._number = ours
        for earlier in there[:-1]:
            self.objects.delete(self._name(earlier))
        return True

    def _lapsed(self, newest: int) -> bool:
        """Whether the newest claim has been the same for a whole duration, as seen from here."""
        seen = newest, self.objects.read(self._name(newest), LARGEST)
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        return time.monotonic() - self._since >= self.duration

    def _numbers(self) -> list[int]:
        return sorted(int(match[1]) for name in self.objects.sizes(self.folder) if (match := CLAIM.fullmatch(name)))

    def _name(self, number: int) -> str:
        return f"{self.folder}/{number:09d}.json"
