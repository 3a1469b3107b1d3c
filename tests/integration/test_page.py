"""The page: what it shows, to whom it is served, and that nobody who looks on can hold the daemon up."""

import base64
import contextlib
import hashlib
import os
import re
import signal
import socket
import time

import pytest

import browser as chromium
import daemon
from cluster import Cluster
from cpu_pressure import CpuPressure, needs_pressure
from daemon import SANITIZED
from database import Database, prepare
from look import Scrape, connect, raw, request
from ports import free_port
from standby import Standby
from waiting import let_pass, wait_until

needs_browser = pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is missing (Debian's package of that name)")
STREAM = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def served(db, port):
    """A daemon that serves the port."""
    daemon = db.daemon(listen=f"127.0.0.1:{port}")
    wait_served(port)
    return daemon


def wait_served(port):
    def answers():
        try:
            return Scrape(port).samples
        except OSError:
            return False
    wait_until(answers, what="it is served")


# ---- To whom, and how


@pytest.mark.parametrize("path", ["/", "/metrics", "/events", "/nothing"])
def test_every_answer_has_the_headers_of_a_careful_site(served, port, path):
    with connect(port) as peer:
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(65536)
    head = head.partition(b"\r\n\r\n")[0].decode()
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_the_policy_allows_the_pages_own_script_and_style_and_nothing_else(served, port):
    answer = request(port)
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        bodies = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.S)
        assert policy[directive].split() == [
            f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies]
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert not re.search(r"(?:src|href)=\"(?!data:|/metrics)", answer.text), "nothing comes from elsewhere"
    assert not re.search(r" (?:style|on\w+)=\"", answer.text), "nor is anything inline that a hash doesn't cover"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_all_but_get_and_head_is_refused(served, port, method):
    """In words that arrive, also at who sends more than is ever read."""
    answer = request(port, "/metrics", method, body=b"x" * 4000000 if method == "POST" else None)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics", "/events", "/nothing"])
def test_head_is_answered_with_a_head(served, port, path):
    head = raw(port, f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert head.startswith(f"HTTP/1.1 {404 if path == '/nothing' else 200} ") and head.endswith("\r\n\r\n")
    assert head.count("\r\n\r\n") == 1


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("localhost:9188", 200), ("127.0.0.1", 200), ("[::1]:1", 200),
    ("evil.example", 421), ("evil.example:9188", 421), ("127.0.0.1.evil.example", 421), ("192.168.0.1", 421), ("", 421), (None, 400)])
@pytest.mark.parametrize("path", ["/", "/metrics"])
def test_a_name_that_is_not_this_hosts_is_refused(served, port, path, host, status):
    """Else a stranger's page could have its own name point here, and read all (DNS rebinding)."""
    answer = request(port, path, Host=host)
    assert answer.status == status
    assert status == 200 or "backfilld" not in answer.text


@pytest.mark.parametrize("site, path, status", [
    ("cross-site", "/metrics", 403), ("same-site", "/events", 403), ("cross-site", "/", 200),
    ("same-origin", "/metrics", 200), ("none", "/metrics", 200)])
def test_another_sites_page_may_link_to_it_and_no_more(served, port, site, path, status):
    assert request(port, path, Sec_Fetch_Site=site).status == status


def test_nonsense_is_refused_in_a_word(served, port):
    assert raw(port, b"\x16\x03\x01\x02\x00 hello TLS\r\n\r\n").startswith("HTTP/1.1 400 ")
    assert raw(port, b"GET / HTTP/3.0\r\nHost: localhost\r\n\r\n").startswith("HTTP/1.1 505 ")
    assert raw(port, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 3000).startswith("HTTP/1.1 431 ")
    assert raw(port, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n").startswith("HTTP/1.1 400 ")
    assert Scrape(port).samples


# ---- Nobody holds it up


def memory_kb(daemon):
    with open(f"/proc/{daemon.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def test_a_head_that_comes_byte_by_byte_is_waited_for_until_its_time_is_over(served, port):
    """Each byte of it is news; what counts is when the first came."""
    began = time.monotonic()
    with connect(port) as peer:
        peer.sendall(b"GET / HTTP/1.1\r\nX: ")
        peer.setblocking(False)

        def is_refused():
            with contextlib.suppress(OSError):
                peer.sendall(b"x")
            try:
                return peer.recv(1000)
            except BlockingIOError:
                return b""
        assert wait_until(is_refused, 20, "it is refused", every=0.2).startswith(b"HTTP/1.1 408 ")
    assert 4 < time.monotonic() - began < 10


def test_connections_are_bounded_and_who_waits_gets_in_when_the_idle_are_gone(db, served, port):
    def descriptors():
        return len(os.listdir(f"/proc/{served.pid}/fd"))
    served.says("connected")
    let_pass(1.5)  # for the connections of the first scrapes to be closed
    own = descriptors()
    idle = [connect(port) for _ in range(60)]
    try:
        let_pass(0.5)  # for the daemon to take those that it takes
        assert descriptors() <= own + 32
        while len(idle) > 10:
            idle.pop().close()
        wait_until(lambda: descriptors() <= own + 10, what="those that are closed are gone")
        served.process.send_signal(signal.SIGSTOP)  # the next come all at once
        idle += [connect(port) for _ in range(30)]
        served.process.send_signal(signal.SIGCONT)
        let_pass(0.5)
        assert descriptors() <= own + 32
        db.table(rows=20000)
        db.finish(db.submit(set_clause="n = n + 1"))  # meanwhile it works as ever
        assert request(port, "/metrics", timeout=30).status == 200
    finally:
        for peer in idle:
            peer.close()


@pytest.mark.parametrize("sent", [b"GET /metrics HTTP/1.1\r\nHost: local", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_who_holds_a_place_for_nothing_gives_it_to_who_waits(served, port, sent):
    """Half a request, or an answer after which nobody closes: as many at once as there are places, and as many again behind them."""
    idle = [connect(port) for _ in range(65)]
    try:
        for peer in idle:
            peer.sendall(sent)
        began = time.monotonic()
        assert request(port, "/metrics", timeout=30).status == 200
        assert time.monotonic() - began < 1.5
    finally:
        for peer in idle:
            peer.close()


def test_streams_are_bounded(served, port):
    peers = [connect(port) for _ in range(8)]
    try:
        for peer in peers:
            peer.sendall(STREAM)
            assert b" 200 OK" in peer.recv(65536)
        with connect(port) as one_more:
            one_more.sendall(STREAM)
            assert b"HTTP/1.1 503 " in (head := one_more.recv(65536)) and b"Retry-After: 10" in head
        peers.pop().close()
        wait_until(lambda: request(port, "/events", "HEAD").status == 200, what="there is room again")
    finally:
        for peer in peers:
            peer.close()


def test_clients_that_do_not_read_cost_a_bounded_place_and_are_left_behind(db, served, port, measured):
    """Eight streams and eight scrapes, each of a text that no buffer of a socket takes in whole."""
    db.table(rows=1)
    for i in range(32):
        db.submit(name=f"{'x' * 120}-{i}", set_clause="n = n + 1")
    wait_until(lambda: Scrape(port).one("backfilld_ended_jobs_total", state="succeeded") == 32, what="all have ended")
    size = len(Scrape(port).text)
    before = memory_kb(served)
    peers = []
    try:
        for i in range(16):
            peer = socket.socket()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", port))
            peer.sendall(STREAM if i < 8 else b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            peers.append(peer)
        slowest, grown = 0.0, 0
        ports = {peer.getsockname()[1] for peer in peers}

        def are_gone():
            nonlocal slowest, grown
            began = time.monotonic()
            Scrape(port)
            slowest, grown = max(slowest, time.monotonic() - began), max(grown, memory_kb(served) - before)
            with open("/proc/net/tcp") as file:  # the daemon's ends: established, with one of ours as the remote port
                ends = [line.split() for line in file if line.split()[3] == "01"]
            return not any(int(end[1][-4:], 16) == port and int(end[2][-4:], 16) in ports for end in ends)

        wait_until(are_gone, 60, "all are left behind", every=0.3)
        measured("16 clients that don't read", f"{grown} kB more at most, an answer of {size // 1000} kB; a scrape beside them took"
                                               f" {1000 * slowest:.0f} ms at most")
        assert slowest < 2 and grown < 8 * size / 1000 + 8 * 100 + (400000 if SANITIZED else 8000)  # what a sanitizer keeps of what was freed
    finally:
        for peer in peers:
            peer.close()


def test_what_the_page_costs_while_it_is_open(db, served, port, measured):
    def cpu_ms():
        with open(f"/proc/{served.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e6
    with connect(port) as peer:
        peer.sendall(STREAM)
        wait_until(lambda: peer.recv(65536), what="the stream begins")
        before = cpu_ms()
        let_pass(5)
        used = cpu_ms() - before
    measured("the page open for 5 s, no job", f"{used:.2f} ms of CPU")
    assert used < 50


# ---- What it shows


@pytest.fixture(scope="module")
def shared_browser():
    browser = chromium.Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(shared_browser, port):
    """Opens the page; at the end nothing may have gone wrong in it."""
    def show(**options):
        shared_browser.open(f"http://127.0.0.1:{port}/", **options)
        shared_browser.wait("document.getElementById('link').textContent === 'live'")
        return shared_browser
    yield show
    assert shared_browser.problems() == []
    shared_browser.open("about:blank")


def line(name, part):
    """JavaScript: the text of a part of a job's line."""
    return f"[...document.querySelectorAll('#jobs li')].find(l => l.querySelector('.name').textContent === {name!r})?.querySelector('.{part}').textContent"


@needs_browser
def test_the_page_follows_a_job_by_itself(db, served, page):
    shown = page()
    assert "No job runs." in shown.text() and "0 jobs running" in shown.text()
    db.table(rows=1000)
    db.app.execute("ANALYZE t")
    with db.held_row(751):
        name = db.submit(name="orders-cents", set_clause="n = n + 1")
        db.wait_at(751, name)
        shown.wait(f"{line(name, 'percent')} === '75.0 %'")
        text = shown.text()
        assert "No job runs." not in text and "1 job running" in text
        assert shown.value(line(name, "table")) == f"public.t in {db.name}"
        assert shown.value(line(name, "state")) == "running · backfill"
        shown.wait(f"{line(name, 'why')} === 'Waits, and tries again: rows or the table are locked by others (SQLSTATE 40001)'")
        assert shown.value("document.querySelector('#chart').hidden") is False
        shown.wait("document.querySelectorAll('#plot .line.rate').length > 0", what="the chart draws")
        assert "orders-cents" in shown.value("document.title")
    db.finish(name)
    shown.wait(f"{line(name, 'state')} === 'succeeded, just now'")
    assert shown.value(line(name, "percent")) == "100.0 %" and shown.value(line(name, "why")) == ""


@needs_browser
def test_what_slows_a_job_is_said_in_words(page, port):
    cluster = Cluster(wal_keep_size="1GB")
    standby, db = None, None
    try:
        prepare(cluster)
        standby = Standby(cluster, "near")
        db = Database(cluster)
        db.table(rows=300000)
        db.daemon(listen=f"127.0.0.1:{port}", throttle={"max_lag_ms": 400, "max_lag_mb": 0})
        wait_served(port)
        shown = page()
        pid = standby.backend("walreceiver")
        os.kill(pid, signal.SIGSTOP)
        try:
            name = db.submit(set_clause="n = n + 1")
            shown.wait(f"/^Stands still: standby near is [0-9,]+ (ms|s) behind, of 400 ms allowed$/.test({line(name, 'why')})")
            shown.wait("document.querySelectorAll('#plot .line.lag').length > 0 && document.querySelectorAll('#plot .limit').length === 1")
            assert "400 ms" in shown.value("document.getElementById('chart-text').textContent")
        finally:
            os.kill(pid, signal.SIGCONT)
        db.finish(name)
        failing = db.submit(set_clause="n = 1 / (id - id)::int", name="<img src=x onerror=alert(1)>")
        db.finish(failing, "failed")
        shown.wait(f"/^It failed .SQLSTATE 22012.: backfill.status/.test({line(failing, 'why')})", what="a name is a text and no markup")
    finally:
        if db:
            db.destroy()
        if standby:
            standby.destroy()
        cluster.destroy()


@needs_browser
@needs_pressure
def test_a_cpu_that_is_taken_as_busy_for_some_seconds_is_not_said_to_be(db, page, port, tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "PROGRAM", str(CpuPressure(tmp_path).program))
    db.table(rows=1000000)
    db.daemon(listen=f"127.0.0.1:{port}", throttle={"max_cpu_pressure": 0.8})
    wait_served(port)
    shown = page()
    name = db.submit(set_clause="n = n + 1")
    shown.wait(f"{line(name, 'why')} === 'Slowed down: others waited for the CPU lately, or the job has just begun: that counts for some seconds'")


@needs_browser
def test_a_daemon_that_goes_away_is_said_to_be_and_comes_back(db, served, page, port):
    shown = page()
    served.kill()
    shown.wait("document.getElementById('link').textContent === 'connection lost, trying again'")
    assert shown.value("document.getElementById('link').getAttribute('role')") == "status"
    served.start()
    shown.wait("document.getElementById('link').textContent === 'live'", timeout=30)
    served.process.send_signal(signal.SIGSTOP)  # without a word
    try:
        shown.wait("document.getElementById('link').textContent === 'connection lost, trying again'")
    finally:
        served.process.send_signal(signal.SIGCONT)
    shown.wait("document.getElementById('link').textContent === 'live'", timeout=30)


@needs_browser
def test_a_screen_reader_is_told_what_eyes_see_and_not_more_often_than_it_changes(db, served, page):
    shown = page()
    db.table(rows=1000)
    db.app.execute("ANALYZE t")
    with db.held_row(501):
        name = db.submit(name="orders-cents", set_clause="n = n + 1")
        db.wait_at(501, name)
        shown.wait(f"{line(name, 'percent')} === '50.0 %'")
        shown.wait("document.getElementById('chart-text').textContent !== ''")
        tree = shown.tree()
        bars = [node for node in tree if node[0] == "progressbar"]
        assert [(bar[1], bar[2]) for bar in bars] == [("orders-cents", shown.value("document.querySelector('.bar').getAttribute('aria-valuetext')"))] \
            or [(bar[1], float(bar[2])) for bar in bars] == [("orders-cents", 50.0)], bars
        assert shown.value("document.querySelector('.bar').getAttribute('aria-valuetext')").startswith("50.0 %, running · backfill")
        images = [node for node in tree if node[0] in ("img", "image")]
        assert [image[1] for image in images] == ["Rows a second, and a standby’s lag"]
        assert "There is no standby." in shown.value("document.getElementById('chart-text').textContent")
        assert ("heading", "backfilld", None) in [(role, text, None) for role, text, _ in tree]
        # What is announced: the connection, and beginnings and ends; never the figures that change each second.
        live = shown.value("[...document.querySelectorAll('[aria-live], [role=status], [role=alert]')].map(e => e.id).join()")
        assert live == "link,news"
        shown.value("window.told = 0; new MutationObserver(() => window.told++).observe(document.getElementById('news'), {childList: true, subtree: true, characterData: true})")
        keys = shown.value("document.getElementById('chart-text').textContent")
        shown.wait(f"document.getElementById('chart-text').textContent !== {keys!r}", what="figures change")
        assert shown.value("window.told") == 0
    db.finish(name)
    shown.wait("document.getElementById('news').textContent === 'orders-cents: succeeded'")


CONTRAST = """(() => {
  const rgb = color => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const back = node => { for (; node; node = node.parentElement) { const c = rgb(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } };
  const low = [];
  for (const node of document.querySelectorAll('body *')) {
    if (![...node.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !node.checkVisibility || !node.checkVisibility() || node.closest('.unseen, script, style, noscript')) continue;
    const style = getComputedStyle(node);
    const a = luminance(rgb(node instanceof SVGElement ? style.fill : style.color)), b = luminance(back(node));
    const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (contrast < 4.5) low.push(`${node.className.baseVal ?? node.className} ${node.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return low;
})()"""


@needs_browser
@pytest.mark.parametrize("width", [320, 390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_can_be_read_at_every_width_in_light_and_dark(db, served, page, width, dark):
    db.table(rows=1000)
    db.app.execute("ANALYZE t")
    with db.held_row(501):
        name = db.submit(name="a-rather-long-name-of-a-job-" * 4 + "end", set_clause="n = n + 1")
        db.wait_at(501, name)
        shown = page(width=width, dark=dark)
        shown.wait(f"{line(name, 'percent')} === '50.0 %' && {line(name, 'why')} !== ''")
        assert shown.value("document.documentElement.scrollWidth") <= width, "nothing is cut off or scrolls sideways"
        assert shown.value("[...document.querySelectorAll('#plot text')].every(t => { const b = t.getBoundingClientRect(), p = document.getElementById('plot').getBoundingClientRect();"
                           " return b.left >= p.left - 1 && b.right <= p.right + 1; })"), "nor are the chart's words"
        assert shown.value(CONTRAST) == [], "each text has a contrast of 4.5 or more (WCAG AA)"
        light = shown.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)") > 384
        assert light is not dark
    db.finish(name)
