"""Workers find each other, hear the chief, and see in one line who is missing; threads stand for processes."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tfprune.errors import InputError
from tfprune.training.cluster import Cluster
from tfprune.training.workers import Chief, Follower


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def clusters(count):
    addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(count))
    return [Cluster(addresses, index) for index in range(count)]


def together(*calls):
    """What each call gave or raised, all at once."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.exception() or future.result() for future in [pool.submit(call) for call in calls]]


@pytest.fixture
def three():
    of = clusters(3)
    parts = together(lambda: Chief(of[0], 20), lambda: Follower(of[1], 20), lambda: Follower(of[2], 20))
    yield parts
    for part in parts:
        part.close()


def test_commands_and_arrays_come_as_they_were_sent(three):
    chief, *others = three
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False]), np.array(-0.0), np.zeros((0, 4))]

    def lead():
        with chief.leading({"run": [1, 2]}):
            chief.tell({"do": "begin"}, arrays)
            return chief.agreed()

    def heard(follower):
        follower.opened({"run": (1, 2)})
        message = follower.receive()
        found = follower.arrays([np.ones_like(array) for array in arrays])
        follower.agree()
        return message, found, follower.receive()

    _, *found = together(lead, *(lambda part=part: heard(part) for part in others))
    for message, came, end in found:
        assert message == {"do": "begin"} and end == {"do": "end"}
        for array, copy in zip(arrays, came, strict=True):
            assert copy.dtype == array.dtype and copy.tobytes() == array.tobytes()


def test_another_study_is_refused_on_both_sides(three):
    chief, one, two = three

    def lead():
        with chief.leading({"seed": 1, "run": "a"}):
            raise AssertionError("others were asked for something else")

    told = together(lead, lambda: one.opened({"seed": 1, "run": "a"}), lambda: two.opened({"seed": 2, "run": "a"}))
    assert "another command, settings or version of tfprune than worker 0: seed" in str(told[0])
    assert told[1] is None
    assert isinstance(told[2], InputError) and str(told[2]).startswith("worker 2 of 3")
    # The one that was asked for the same hears why nothing comes of it.
    assert "worker 2 of 3" in str(one.ended(one.receive()))


def test_who_goes_is_named(three):
    chief, one, two = three
    two.close()
    assert "worker 2 of 3" in str(chief.missed()) and "goes on from its checkpoint" in str(chief.missed())
    one.agree()
    with pytest.raises(InputError, match=r"worker 2 of 3 .* is gone"):
        chief.agreed()
    chief.close()
    assert "worker 0 of 3" in str(one.missed()) and "which keeps the files, is gone" in str(one.missed())


def test_an_error_of_the_chief_is_heard(three):
    chief, *others = three

    def lead():
        with chief.leading({}):
            raise InputError("the loss is not finite")

    def heard(part):
        part.opened({})
        return str(part.ended(part.receive()))

    told, *rest = together(lead, *(lambda part=part: heard(part) for part in others))
    assert str(told) == "the loss is not finite"
    assert all(text.endswith("ended: the loss is not finite") for text in rest)


def test_nobody_comes():
    alone, other = clusters(2)
    with pytest.raises(InputError, match=rf"worker 1 of 2 \({alone.addresses[1]}\) did not call .* within 0.3 seconds"):
        Chief(alone, 0.3)
    with pytest.raises(InputError, match=r"worker 0 of 2 .* did not answer within 0.3 seconds \(Connection refused"):
        Follower(other, 0.3)


def test_a_port_that_is_taken_is_told():
    alone, other = clusters(2)
    with socket.create_server(("", alone.place(0)[1])), pytest.raises(InputError, match="cannot use the port"):
        Chief(alone, 0.3)
    with socket.create_server(("", other.place(1)[1])), pytest.raises(InputError, match="cannot use the port"):
        Follower(other, 0.3)


def test_strangers_do_not_disturb():
    of = clusters(2)
    called = threading.Event()

    def stranger():
        for content in (b"GET / HTTP/1.1\r\n\r\n", b"[1]\n", b'{"index": 7}\n', b'{"index": 0}\n', b""):
            while True:
                try:
                    connection = socket.create_connection(of[0].place(0), timeout=5)
                    break
                except ConnectionRefusedError:
                    continue
            with connection:
                connection.sendall(content)
        called.set()

    def follow():
        called.wait(20)
        return Follower(of[1], 20)

    chief, follower, _ = together(lambda: Chief(of[0], 20), follow, stranger)
    assert isinstance(chief, Chief) and isinstance(follower, Follower)
    chief.close(), follower.close()


def test_clusters_of_other_addresses_are_refused():
    one, _ = clusters(2)
    other = Cluster((one.addresses[0], clusters(2)[1].addresses[1]), 1)
    told = together(lambda: Chief(one, 20), lambda: Follower(other, 20))
    assert all(isinstance(each, InputError) and "TF_CONFIG names other addresses" in str(each) for each in told)


def test_messages_are_lines_of_json():
    """What another version would read: pinned."""
    of = clusters(2)
    with socket.create_server(("127.0.0.1", of[0].place(0)[1])) as server:
        with ThreadPoolExecutor(1) as pool:
            calling = pool.submit(Follower, of[1], 5)
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as file:
                assert json.loads(file.readline()) == {"index": 1, "cluster": list(of[0].addresses)}
                file.write(b'{"error": "go away"}\n')
                file.flush()
        assert "worker 1 of 2" in str(calling.exception()) and "go away" in str(calling.exception())
