"""A master without mules: real sessions over a real socket, and answers by request.

It runs in a thread, so that clients of every kind can be tested against it: on both
event loops, and on none.
"""

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Self

from pymule.errors import RefusedError
from pymule.sansio.batch import Batch, unpack_bodies
from pymule.sansio.session import Role, Session
from pymule.sansio.submissions import SubmissionLog
from pymule.sansio.verbs import (
    Call,
    Close,
    Confirm,
    Handled,
    Hello,
    JsonObject,
    Listen,
    Refuse,
    Reply,
    Submit,
    Verb,
    Welcome,
)

__all__ = ("FakeMaster", "Peer")


class Peer:
    """One connection of a client."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.session = Session(Role.MASTER, Role.CLIENT)
        self.client = ""
        self.name = ""

    def send(self, *verbs: Verb) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall(b"".join(map(self.session.pack, verbs)))

    def send_raw(self, data: bytes) -> None:
        self.socket.sendall(data)


class FakeMaster:
    """What it accepts is in ``received``; everything is confirmed unless told else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.welcome: JsonObject = {
            "protocol": 1,
            "max_frame_bytes": 16 * 1024 * 1024,
            "window_count": 16_384,
            "window_bytes": 8 * 1024 * 1024,
        }
        # Target and body of each message, once.
        self.received: list[tuple[str, bytes]] = []
        # Everything that was submitted, also if it was again.
        self.submits: list[Submit] = []
        # Of every HELLO.
        self.clients: list[str] = []
        self.names: list[str] = []
        self.peers: list[Peer] = []
        self.closes: list[str] = []
        # What was asked, and what a worker said of signals.
        self.calls: list[JsonObject] = []
        self.said: list[Handled | Listen] = []
        # Targets whose messages get their answer by release().
        self.held: set[str] = set()
        self.refusals: dict[str, RefusedError] = {}
        # Cut the connection after accepting, before confirming; so many times.
        self.cuts = 0
        # Said instead of WELCOME.
        self.greeting: Callable[[Peer], None] | None = None
        # Done with each Call.
        self.on_call: Callable[[Peer, Call], None] = lambda peer, call: peer.send(
            Reply(call.id, 0, {"method": call.value["method"]})
        )
        self._next_id = 1
        self._logs: dict[str, SubmissionLog] = {}
        self._waiting: list[tuple[Peer, Submit]] = []
        self._lock = threading.RLock()
        self._reading = threading.Event()
        self._reading.set()
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        # Made by start().
        self._ours: socket.socket
        self._theirs: socket.socket
        self._listener: socket.socket

    # Life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; after a stop, as another master that remembers the messages."""
        self._is_stopping = False
        self._ours, self._theirs = socket.socketpair()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, name="fake master")
        self._thread.start()

    def stop(self) -> None:
        if self._thread is None:
            return
        self._is_stopping = True
        self._reading.set()
        self._ours.send(b"x")
        self._thread.join()
        self._thread = None
        self.path.unlink()
        for sock in (self._ours, self._theirs, self._listener):
            sock.close()
        for peer in self.peers:
            peer.socket.close()
        self.peers.clear()

    def cut(self) -> None:
        """Break all connections."""
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)

    def pause(self) -> None:
        """Read nothing until :meth:`resume`."""
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def release(self, target: str, *, limit: int | None = None) -> None:
        """Answer what was held for *target*: all of it, or the first *limit*."""
        with self._lock:
            if limit is None:
                self.held.discard(target)
            mine = [pair for pair in self._waiting if pair[1].target == target]
            for peer, submit in mine[:limit]:
                self._waiting.remove((peer, submit))
                self._answer(peer, submit)

    def bodies(self, target: str = "mule") -> list[bytes]:
        return [body for name, body in list(self.received) if name == target]

    @property
    def submitted(self) -> int:
        return sum(submit.count for submit in list(self.submits))

    # The thread

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._theirs, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._is_stopping:
                for key, _ in selector.select():
                    self._reading.wait()
                    if isinstance(key.data, Peer):
                        self._read(selector, key.data)
                    elif key.fileobj is self._listener:
                        self._accept(selector)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        sock, _ = self._listener.accept()
        peer = Peer(sock)
        self.peers.append(peer)
        selector.register(sock, selectors.EVENT_READ, peer)

    def _read(self, selector: selectors.BaseSelector, peer: Peer) -> None:
        try:
            data = peer.socket.recv(256 * 1024)
        except OSError:
            data = b""
        if data:
            with self._lock:
                for verb in peer.session.receive_data(data):
                    self._act(peer, verb)
        else:
            selector.unregister(peer.socket)
            peer.socket.close()
            self.peers.remove(peer)

    def _act(self, peer: Peer, verb: Verb) -> None:
        match verb:
            case Hello():
                self._greet(peer, verb)
            case Submit():
                self.submits.append(verb)
                if verb.target in self.held:
                    self._waiting.append((peer, verb))
                else:
                    self._answer(peer, verb)
            case Call():
                self.calls.append(verb.value)
                self.on_call(peer, verb)
            case Handled() | Listen():
                self.said.append(verb)
            case Close():
                self.closes.append(str(verb.value["reason"]))
            case _:
                raise AssertionError(f"{verb} from a client")

    def _greet(self, peer: Peer, hello: Hello) -> None:
        peer.client, peer.name = str(hello.value["client"]), str(hello.value["name"])
        self.clients.append(peer.client)
        self.names.append(peer.name)
        if self.greeting is not None:
            self.greeting(peer)
        else:
            peer.send(Welcome(self.welcome))

    def _answer(self, peer: Peer, submit: Submit) -> None:
        refusal = self.refusals.get(submit.target)
        if refusal is not None:
            refuse = Refuse(
                submit.sequence, submit.count, refusal.code, refusal.to_detail()
            )
            peer.send(refuse)
            return
        ranges = self._accept_messages(peer, submit)
        if self.cuts:
            self.cuts -= 1
            self.cut()
        else:
            peer.send(Confirm(ranges))

    def _accept_messages(
        self, peer: Peer, submit: Submit
    ) -> list[tuple[int, int, int]]:
        log = self._logs.setdefault(peer.client, SubmissionLog())
        log.forget_below(submit.floor)
        bodies = unpack_bodies(
            Batch.received(submit.count, submit.payload).payload, submit.count
        )
        ranges = []
        for piece in log.split(submit.sequence, submit.count):
            first_id = piece.first_id
            if first_id is None:
                first_id, self._next_id = self._next_id, self._next_id + piece.count
                log.accepted(piece.sequence, piece.count, first_id)
                at = piece.sequence - submit.sequence
                self._take(submit.target, bodies[at : at + piece.count])
            ranges.append((piece.sequence, piece.count, first_id))
        return ranges

    def _take(self, target: str, bodies: Collection[bytes]) -> None:
        self.received += [(target, body) for body in bodies]
