"""backfilld as a process under test."""

import os
import signal
import subprocess
import tempfile

from cluster import die_with_parent
from waiting import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("BACKFILLD", f"{ROOT}/build/daemon/backfilld")


SANITIZED = "BACKFILL_SANITIZED" in os.environ  # slower, and with more memory


def run(*arguments, timeout=60):
    """Runs it until it ends by itself: --install, --check, --drain, mistakes."""
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=timeout,
                          preexec_fn=die_with_parent(signal.SIGKILL))


# The machine that tests run on is busy with tests, and its disk is its own affair.
HOST_OFF = {"max_cpu_pressure": 0, "max_io_pressure": 0, "max_disk_used": 0, "max_latency_ratio": 0, "flush_after_kb": 0}


def value_text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        values = ", ".join(map(value_text, value))
        return f"( {values} )" if value and isinstance(value[0], dict) else f"[ {values} ]"
    if isinstance(value, dict):
        return "{ " + " ".join(f"{key} = {value_text(v)};" for key, v in value.items()) + " }"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def config_text(databases, **groups):
    """A configuration file: databases is a list of dicts, each group a dict."""
    lines = [f"databases = {value_text(databases)};"]
    lines += [f"{name} = {value_text(group)};" for name, group in groups.items() if group]
    return "\n".join(lines) + "\n"


class Daemon:
    """One running backfilld; its stderr goes to a file. It must end only when told to."""

    def __init__(self, *arguments, config=None, stderr=None):
        self.config_path = None
        if config is not None:
            with tempfile.NamedTemporaryFile("w", prefix="bf-", suffix=".conf", delete=False) as file:
                file.write(config)
            self.config_path = file.name
            arguments = ("-c", file.name, *arguments)
        self.arguments = arguments
        self.stderr = stderr
        self.file = tempfile.NamedTemporaryFile("r", prefix="bf-", suffix=".log", errors="replace")
        self.told_to_end = False
        self.process = None
        self.start()

    def start(self):
        self.told_to_end = False
        with open(self.file.name, "a") as log:
            self.process = subprocess.Popen([PROGRAM, *self.arguments], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=self.stderr or log,
                                            preexec_fn=die_with_parent(signal.SIGKILL))

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        self.file.seek(0)
        return self.file.read()

    def rewrite_config(self, config):
        with open(self.config_path, "w") as file:
            file.write(config)

    def signal(self, sig):
        self.told_to_end = self.told_to_end or sig != signal.SIGHUP
        self.process.send_signal(sig)

    def wait(self, timeout=20):
        self.told_to_end = True
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon has not ended within {timeout} s:\n{self.log()[-2000:]}")

    def terminate(self):
        """As the service manager stops it; returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def says(self, text, timeout=20):
        wait_until(lambda: text in self.log(), timeout, f"the daemon says {text!r}")

    def destroy(self):
        """Ends it, and tells whether it was well."""
        ended_by_itself = self.process.poll() is not None and not self.told_to_end
        status = self.process.returncode
        if self.process.poll() is None:
            for sig in (signal.SIGCONT, signal.SIGTERM, signal.SIGTERM):
                self.process.send_signal(sig)
            try:
                status = self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                status = "hung"
        print(f"--- backfilld {' '.join(self.arguments)}\n{self.log()[-8000:]}")
        self.file.close()
        if self.config_path:
            os.unlink(self.config_path)
        return None if not ended_by_itself and status in (0, 1, -signal.SIGKILL,
                                                          -signal.SIGTERM) else f"it ended with {status}"
