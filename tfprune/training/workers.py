"""How the processes of a cluster find each other, and how the chief tells the others what to do. Loads no TensorFlow.

TensorFlow's own start waits up to an hour for a worker that never comes, and its collectives carry numbers alone. So
the workers first call the chief at its address of TF_CONFIG, before TensorFlow takes that port; the connections stay
open and carry the chief's commands, each a line of JSON, and the state of the network as bytes. When either end
is gone the other sees it at once.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tfprune.errors import InputError
from tfprune.training.cluster import VARIABLE, Cluster, read_cluster

_LONGEST = 1 << 20  # of a line
_HELLO_SECONDS = 5.0  # within which a caller says who it is
_RETRY_SECONDS = 0.2
_NOTICE_SECONDS = 10.0  # within which a connection is closed whose process has ended


class _Gone(Exception):
    """The other end is gone, or is none of ours."""


class _Wire:
    """A connection that carries lines of JSON and arrays."""

    def __init__(self, connection: socket.socket):
        self._connection, self._file = connection, connection.makefile("rb")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def send(self, message: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        try:
            self._connection.sendall(json.dumps(message).encode() + b"\n")
            for array in arrays:
                self._connection.sendall(np.ascontiguousarray(array).tobytes())
        except OSError as error:
            raise _Gone(str(error)) from None

    def receive(self) -> dict[str, Any]:
        try:
            line = self._file.readline(_LONGEST)
            message = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError, RecursionError) as error:
            raise _Gone(str(error)) from None
        if not isinstance(message, dict):
            raise _Gone("closed")
        return message

    def arrays(self, like: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Arrays of the shapes and kinds of those given."""
        found = []
        for array in like:
            content = self._file.read(array.nbytes)
            if len(content) < array.nbytes:
                raise _Gone("closed")
            found.append(np.frombuffer(content, array.dtype).reshape(array.shape))
        return found

    def has_more(self, seconds: float) -> bool:
        """Whether the other end says something within so long, or goes."""
        return bool(select.select([self._connection], [], [], seconds)[0])

    def is_closed(self, seconds: float) -> bool:
        """Whether the other end goes within so long; for times in which it has nothing to say."""
        with contextlib.suppress(OSError):
            return self.has_more(seconds) and not self._connection.recv(1, socket.MSG_PEEK)
        return True

    def close(self) -> None:
        self._file.close()
        self._connection.close()


class Chief:
    """Worker 0: waits for the others, and tells them what to do.

    Args:
        cluster: this process is its first.
        seconds: how long to wait for the others.

    Raises:
        InputError: the port is taken, or a worker does not come, or is another one than it should be.
    """

    def __init__(self, cluster: Cluster, seconds: float):
        self.cluster = cluster
        self._wires: dict[int, _Wire] = {}
        end = time.monotonic() + seconds
        with _listening(cluster) as listener:
            while missing := [index for index in range(1, len(cluster.addresses)) if index not in self._wires]:
                if (left := end - time.monotonic()) <= 0:
                    self.close()
                    raise InputError(
                        f"{' and '.join(map(cluster.named, missing))} did not call {cluster.addresses[0]} within "
                        f"{seconds:g} seconds (--wait_for_workers): start the same command there"
                    )
                listener.settimeout(left)
                with contextlib.suppress(TimeoutError):
                    self._welcome(listener.accept()[0])

    @contextlib.contextmanager
    def leading(self, topic: dict[str, Any]) -> Iterator[None]:
        """Around a study; tells the others how it ended.

        Args:
            topic: what all must have been asked for, JSON values.

        Raises:
            InputError: a worker was asked for something else, or cannot take part.
        """
        self.tell({"do": "open", "topic": topic})
        try:
            self.agreed()
            yield
        except BaseException as error:
            with contextlib.suppress(InputError):
                self.tell({"do": "end", "error": f"{error}" if isinstance(error, InputError) else type(error).__name__})
            raise
        with contextlib.suppress(InputError):  # all is done, whoever is gone now
            self.tell({"do": "end"})

    def tell(self, message: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
        """Sends all a command."""
        for index, wire in self._wires.items():
            try:
                wire.send(message, arrays)
            except _Gone:
                raise self._gone(index) from None

    def agreed(self) -> None:
        """Waits until all have answered.

        Raises:
            InputError: what a worker has against it, or that it is gone.
        """
        for index, wire in self._wires.items():
            try:
                answer = wire.receive()
            except _Gone:
                raise self._gone(index) from None
            if answer.get("error") is not None:
                raise InputError(f"{self.cluster.named(index)}: {answer['error']}")

    def missed(self) -> InputError | None:
        """What to tell when a step has failed because a worker is gone; None where all are there."""
        end = time.monotonic() + _NOTICE_SECONDS
        while time.monotonic() < end:
            for index, wire in self._wires.items():
                if wire.is_closed(0.1):
                    return self._gone(index)
        return None

    def close(self) -> None:
        """Ends all connections."""
        for wire in self._wires.values():
            wire.close()

    def _welcome(self, connection: socket.socket) -> None:
        """Takes a caller in, if it is a worker that is still missing; others are not ours, and are left."""
        connection.settimeout(_HELLO_SECONDS)
        wire, known = _Wire(connection), range(1, len(self.cluster.addresses))
        try:
            hello = wire.receive()
            index = hello.get("index")
            if type(index) is not int or index not in known or index in self._wires:
                raise _Gone("no worker that is missing")
            same = hello.get("cluster") == list(self.cluster.addresses)
            wire.send({} if same else {"error": f"its {VARIABLE} names other addresses than that of worker 0"})
        except _Gone:
            wire.close()
            return
        if not same:
            self.close()
            raise InputError(f"{self.cluster.named(index)}: its {VARIABLE} names other addresses than this one's")
        connection.settimeout(None)
        self._wires[index] = wire

    def _gone(self, index: int) -> InputError:
        return InputError(
            f"{self.cluster.named(index)} is gone (see what it said). Start all workers again: the run goes on from "
            "its checkpoint"
        )


class Follower:
    """Any other worker: does what the chief says.

    Args:
        cluster: this process is not its first.
        seconds: how long to wait for the chief.

    Raises:
        InputError: the chief does not answer, or does not want this worker.
    """

    def __init__(self, cluster: Cluster, seconds: float):
        self.cluster = cluster
        _listening(cluster).close()  # TensorFlow would end the process where the port is taken
        self._wire = self._called(seconds)

    def opened(self, topic: dict[str, Any]) -> None:
        """Waits for the next study; arguments as for `Chief.leading`.

        Raises:
            InputError: the chief was asked for something else, or is gone.
        """
        asked, topic = self.receive().get("topic"), json.loads(json.dumps(topic))
        if asked == topic:
            return self.agree()
        theirs = asked if isinstance(asked, dict) else {}
        names = sorted(name for name in {**topic, **theirs} if topic.get(name) != theirs.get(name))
        error = f"was started with another command, settings or version of tfprune than worker 0: {', '.join(names)}"
        self.agree(error)
        raise InputError(f"{self.cluster.named(self.cluster.index)} {error}")

    def receive(self) -> dict[str, Any]:
        """The next command.

        Raises:
            InputError: the chief is gone.
        """
        try:
            return self._wire.receive()
        except _Gone:
            raise self._gone() from None

    def arrays(self, like: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Arrays that follow a command, of the shapes and kinds of those given.

        Raises:
            InputError: the chief is gone.
        """
        try:
            return self._wire.arrays(like)
        except (_Gone, OSError):
            raise self._gone() from None

    def agree(self, error: str | None = None) -> None:
        """Answers the chief: that all is well, or why not."""
        with contextlib.suppress(_Gone):  # is seen when the next command is read
            self._wire.send({"error": error})

    def missed(self) -> InputError | None:
        """What to tell when a step has failed because a worker is gone; None where the chief knows of none."""
        if not self._wire.has_more(2 * _NOTICE_SECONDS):
            return None
        try:
            return self.ended(self.receive())
        except InputError as error:
            return error

    def ended(self, message: dict[str, Any]) -> InputError | None:
        """What to tell when the chief says that it has ended; None where all is done."""
        error = message.get("error")
        return None if error is None else InputError(f"{self.cluster.named(0)} ended: {error}")

    def close(self) -> None:
        """Ends the connection."""
        self._wire.close()

    def _gone(self) -> InputError:
        return InputError(
            f"{self.cluster.named(0)}, which keeps the files, is gone (see what it said). Start all workers again: the "
            "run goes on from its checkpoint"
        )

    def _called(self, seconds: float) -> _Wire:
        end, why = time.monotonic() + seconds, "timed out"
        while (left := end - time.monotonic()) > 0:
            try:
                connection = socket.create_connection(self.cluster.place(0), timeout=left)
            except OSError as error:
                why = error.strerror or str(error)
                time.sleep(min(_RETRY_SECONDS, left))
                continue
            wire = _Wire(connection)
            try:
                wire.send({"index": self.cluster.index, "cluster": list(self.cluster.addresses)})
                answer = wire.receive()
            except _Gone:  # its TensorFlow of a run before, for example
                wire.close()
                why = "something else answers there"
                time.sleep(min(_RETRY_SECONDS, left))
                continue
            if answer.get("error") is not None:
                wire.close()
                raise InputError(f"{self.cluster.named(self.cluster.index)}: {answer['error']}")
            connection.settimeout(None)
            return wire
        raise InputError(
            f"{self.cluster.named(0)} did not answer within {seconds:g} seconds ({why}; --wait_for_workers): start the "
            "same command there"
        )


_JOINED: dict[Cluster, Chief | Follower] = {}


def joined(seconds: float, say: Callable[[str], None] = lambda text: None) -> Chief | Follower:
    """This process's part in TF_CONFIG's cluster, the same for all studies: TensorFlow takes the ports only once.

    Args:
        seconds: how long to wait for the others.
        say: is told whom it waits for.

    Raises:
        InputError: TF_CONFIG cannot be used, or the others are not there.
    """
    cluster = read_cluster()
    if cluster not in _JOINED:
        say(f"{cluster.named(cluster.index)}: waiting for {'the others' if cluster.is_chief else cluster.named(0)}")
        _JOINED[cluster] = (Chief if cluster.is_chief else Follower)(cluster, seconds)
    return _JOINED[cluster]


def _listening(cluster: Cluster) -> socket.socket:
    """Takes the port of this process, on all of the machine's addresses, as TensorFlow does.

    Raises:
        InputError: another process has it.
    """
    port = cluster.place(cluster.index)[1]
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InputError(
            f"{cluster.named(cluster.index)}: cannot use the port {port} that {VARIABLE} names: {error.strerror}"
        ) from None
