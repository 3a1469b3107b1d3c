"""meson install: what goes where, and that an uninstall takes all of it away."""

import os
import subprocess

import pytest

from daemon import PROGRAM

BUILD = os.path.dirname(os.path.dirname(os.path.abspath(PROGRAM)))
INSTALLED = {"sbin/backfilld", "system/backfilld.service", "system/backfilld@.service", "catalog/backfilld.catalog",
             "sysusers.d/backfilld.conf", "backfilld/README.md", "backfilld/CHANGELOG.md", "backfilld/LICENSE", "examples/backfilld.conf",
             "examples/grafana-dashboard.json", "examples/prometheus-alerts.yml",
             "man8/backfilld.8", "man5/backfilld.conf.5", "man7/backfill-schema.7", "man7/backfilld-recipes.7",
             "man7/backfilld-internals.7"}


def tool(*command, **environment):
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **environment})


def all_below(directory):
    return [os.path.join(path, name) for path, directories, files in os.walk(directory) for name in directories + files]


@pytest.fixture
def root(tmp_path):
    tool("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", str(tmp_path))
    return tmp_path


def test_all_files_go_below_destdir_and_none_into_etc(root):
    files = {"/".join(path.split("/")[-2:]) for path in all_below(root) if os.path.isfile(path)}
    assert files == INSTALLED
    assert not (root / "etc").exists()


def test_man_pages_are_whole(root):
    pages = [path for path in all_below(root) if "/man/" in path and os.path.isfile(path)]
    assert len(pages) == 5
    for path in pages:
        with open(path) as page:
            text = page.read()
        assert text.endswith("\\fR(1)\n") or text.endswith("\\fR(7)\n"), f"{path} ends with {text[-20:]!r}"
        assert "\n.TH " in text and "\n.nh\n" in text[text.index("\n.TH "):]


def test_units_name_the_program_that_was_installed(root):
    unit = next(path for path in all_below(root) if path.endswith("/backfilld.service"))
    program = next(line.split("=")[1].split()[0] for line in open(unit) if line.startswith("ExecStart="))
    assert os.access(f"{root}{program}", os.X_OK)


def test_uninstall_leaves_nothing(root):
    tool("ninja", "-C", BUILD, "uninstall", DESTDIR=str(root))
    assert [path for path in all_below(root) if not os.path.isdir(path)] == []
    assert [path for path in all_below(root) if "backfilld" in path or "examples" in path] == []
