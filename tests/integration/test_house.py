"""The house: folders are floors, and nothing includes what is above it; who looks for a behaviour finds its room by its name."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

# From below: a file includes those of its own floor and of the floors below. The brain (lib/) knows nothing of the hands (daemon/).
FLOORS = {
    "lib": ["", "schema", "text", "job", "pressure", "walk", "run"],
    "daemon": ["base", "watch", "show", "work", "service", ""],
}
HEIGHT = {(root, folder): height for height, (root, folder) in enumerate((root, folder) for root, folders in FLOORS.items() for folder in folders)}
LIBRARIES_OF_THE_HANDS = ("libpq", "event2/", "libconfig", "systemd/", "sys/socket", "time.h", "unistd.h")


def sources():
    for root in FLOORS:
        for path in sorted((ROOT / root).rglob("*.[ch]")):
            folder = str(path.parent.relative_to(ROOT / root)).replace(".", "")
            yield root, folder, path


def test_includes_run_downwards_only():
    known = {str(path.relative_to(ROOT / root)): (root, folder) for root, folder, path in sources()}
    upwards = []
    for root, folder, path in sources():
        assert (root, folder) in HEIGHT, f"{path} stands on no floor"
        for name in re.findall(r'#include "([^"]+)"', path.read_text()):
            assert name in known, f"{path} includes {name}: name it by its floor"
            if HEIGHT[known[name]] > HEIGHT[root, folder]:
                upwards.append(f"{path.relative_to(ROOT)} includes {name}")
    assert upwards == []


def test_brain_knows_neither_server_nor_clock_nor_log():
    for root, _, path in sources():
        if root == "lib":
            included = re.findall(r"#include <([^>]+)>", path.read_text())
            assert not [name for name in included if name.startswith(LIBRARIES_OF_THE_HANDS)], path
