"""Looking on from outside: requests to the daemon's port, and what is in its metrics."""

import http.client
import json
import socket

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def connect(address, timeout=20):
    """A socket to a port of this host, or to a UNIX socket."""
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address), timeout)
    unix = socket.socket(socket.AF_UNIX)
    unix.settimeout(timeout)
    unix.connect(address)
    return unix


class Answer:
    def __init__(self, response, has_body=True):
        self.status, self.headers = response.status, response.headers
        self.body = response.read() if has_body else b""
        self.text = self.body.decode()


def request(address, path="/", method="GET", body=None, timeout=20, **headers):
    """One request. A header's name is written with _ for -; one whose value is None is left out."""
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = connect(address, timeout)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers.setdefault("Host", "localhost")
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if value is not None:
            connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    try:
        return Answer(response)
    finally:
        connection.close()


def raw(address, text, timeout=20):
    """What comes back for these bytes, until the other side closes."""
    with connect(address, timeout) as peer:
        peer.sendall(text)
        received = b""
        while data := peer.recv(65536):
            received += data
        return received.decode()


class Scrape:
    """All samples of one scrape, read by Prometheus's own strict parser."""

    def __init__(self, address):
        self.text = request(address, "/metrics").text
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def all(self, sample_name, **labels):
        return [s for s in self.samples if s.name == sample_name and labels.items() <= s.labels.items()]

    def one(self, sample_name, **labels):
        """The only sample of that name and those labels, or None."""
        found = self.all(sample_name, **labels)
        assert len(found) < 2, found
        return found[0].value if found else None

    def names(self):
        return {sample.name for sample in self.samples}


def event(address):
    """What the page is told now."""
    with connect(address) as peer:
        peer.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"data: " not in received or b"\n\n" not in received.partition(b"data: ")[2]:
            received += peer.recv(65536)
        return json.loads(received.partition(b"data: ")[2].partition(b"\n\n")[0])
