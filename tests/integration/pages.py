"""The texts that users read, as tests take them apart: sections, lists of definitions, tables, blocks of commands."""

import re

from daemon import ROOT

BOLD = r"\*([^*\n]+)\*"


def read(path):
    with open(f"{ROOT}/{path}") as file:
        return file.read()


DAEMON, CONF, SCHEMA, RECIPES, INTERNALS = (read(path) for path in (
    "daemon/backfilld.8.scd", "conf/backfilld.conf.5.scd", "lib/schema/backfill-schema.7.scd", "lib/schema/backfilld-recipes.7.scd",
    "daemon/backfilld-internals.7.scd"))
PAGES = {"backfilld(8)": DAEMON, "backfilld.conf(5)": CONF, "backfill-schema(7)": SCHEMA, "backfilld-recipes(7)": RECIPES,
         "backfilld-internals(7)": INTERNALS}
README = read("README.md")


def section(page, title):
    """The text below a heading, up to the next one of its rank or above."""
    parts = re.search(rf"^(#+) {re.escape(title)}$", page, re.M)
    assert parts, f"there is no section {title}"
    without_blocks = re.sub(r"^```.*?^```$", lambda block: "`" * len(block[0]), page, flags=re.M | re.S)  # a comment in one is no heading
    end = re.search(rf"^#{{1,{len(parts[1])}}} ", without_blocks[parts.end():], re.M)
    return page[parts.end():parts.end() + end.start() if end else len(page)]


def blocks(text):
    """What stands between fences in a man page, in order, as its reader sees it: scdoc takes a backslash away."""
    return [re.sub(r"\\(.)", r"\1", block) for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)]


def readme_blocks(title, kind):
    """The blocks of a section of the README that are of a kind, "" or "sql"."""
    return [block for its_kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", section(README, title), re.M | re.S) if its_kind == kind]
