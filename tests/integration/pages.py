"""The texts that users read, as tests take them apart: sections, lists of definitions, tables, blocks of commands."""

import re

from daemon import ROOT

BOLD = r"\*([^*\n]+)\*"


def read(path):
    with open(f"{ROOT}/{path}") as file:
        return file.read()


DAEMON, CONF, SCHEMA, RECIPES = (read(path) for path in (
    "daemon/backfilld.8.scd", "conf/backfilld.conf.5.scd", "lib/schema/backfill-schema.7.scd", "lib/schema/backfilld-recipes.7.scd"))
PAGES = {"backfilld(8)": DAEMON, "backfilld.conf(5)": CONF, "backfill-schema(7)": SCHEMA, "backfilld-recipes(7)": RECIPES}
README = read("README.md")


def section(page, title):
    """The text below a heading, up to the next one of its rank or above."""
    parts = re.search(rf"^(#+) {re.escape(title)}$", page, re.M)
    assert parts, f"there is no section {title}"
    end = re.search(rf"^#{{1,{len(parts[1])}}} ", page[parts.end():], re.M)
    return page[parts.end():parts.end() + end.start() if end else len(page)]


def blocks(text):
    """What stands between fences, in order, as its reader sees it: scdoc takes a backslash away."""
    return [re.sub(r"\\(.)", r"\1", block) for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)]
