"""What the pages for people name is there: files, modules, links, checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_group

from include.cli.app import app

ROOT = Path(__file__).parents[2]
NEWEST_DECISION = max((ROOT / "docs" / "decisions").glob("*.md"))
"""Older ones tell of the code of their day."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*PAGES, NEWEST_DECISION]

PLACES = "include|dags|plugins|ml|tests|benchmarks|docs|deploy|docker"
FILE = re.compile(rf"(?<![\w./<-])((?:{PLACES})/[\w./-]*[\w/])(?![\w…<*])")
MODULE = re.compile(r"(?<![\w./])((?:include|tests|benchmarks)(?:\.[a-z_]\w*)+)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def page_ids(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page's text without the trees of other things' folders and the programs in its blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    made_later = set((ROOT / ".gitignore").read_text().split())
    named = set(FILE.findall(prose(page))) - made_later
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_the_readme_names_the_files_of_a_titles_life() -> None:
    """The test above cannot pass emptily."""
    assert len(set(FILE.findall(prose(ROOT / "README.md")))) > 30


@pytest.mark.parametrize("page", PAGES, ids=page_ids)
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    # Calls in blocks count as well: `python -m include.worker`. A name beyond the module is one that stands in it.
    missing = []
    for dotted in MODULE.findall(page.read_text()):
        path = ROOT / dotted.replace(".", "/")
        if not (path.is_dir() or path.with_suffix(".py").exists() or path.parent.with_suffix(".py").exists()):
            missing.append(dotted)
    assert missing == []


@pytest.mark.parametrize("page", LINKING, ids=page_ids)
def test_every_link_within_the_project_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in pages if f"({name})" not in index} == set()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_hooks_before_a_commit_are_the_checks_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    assert recipe is not None
    checks = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.group(1).splitlines()]
    configured = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in configured["repos"] for hook in repo["hooks"]]
    assert [hook["entry"] for hook in hooks] == checks
    assert {(hook["language"], hook["pass_filenames"]) for hook in hooks} == {("system", False)}


def section(page: Path, heading: str) -> str:
    """What stands under a heading, with the headings beneath it."""
    level = heading.partition(" ")[0]
    found = re.search(
        rf"^{re.escape(heading)}$(.*?)(?=^#{{2,{len(level)}}} |\Z)", page.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found is not None, heading
    return found[1]


def commands_in(text: str) -> list[list[str]]:
    """The commands of a text's blocks and code spans, in words: what follows `--` or a variable is one as well."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    words = [re.sub(r"\s+# .*$", "", line).split() for line in [*lines, *spans]]
    return [line for line in words if line]


UPGRADE = [
    (ROOT / "docs" / "deploy.md", "## Upgrading"),
    (ROOT / "docs" / "deploy.md", "### Going back"),
    (ROOT / "docs" / "runbook.md", "## After a deploy"),
]


@pytest.mark.parametrize(("page", "heading"), UPGRADE, ids=lambda given: str(given).rpartition("/")[2])
def test_every_command_of_the_steps_of_an_upgrade_exists(page: Path, heading: str) -> None:
    known = get_group(app).commands
    targets = set(
        re.findall(r"^([\w./$()]+):", (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv"), re.MULTILINE)
    )
    asked = set()
    for words in commands_in(section(page, heading)):
        if words[0] == "make":
            assert words[1] in targets, words
        for place, word in enumerate(words):
            if word == "callsheet" and place + 1 < len(words) and (place == 0 or "=" in words[place - 1]):
                command = known[words[place + 1]]
                options = {option for parameter in command.params for option in parameter.opts}
                assert {given for given in words[place + 2 :] if given.startswith("--")} <= options, words
                asked.add(" ".join(words[place : place + 2]))
            if re.fullmatch(r"(deploy|docker)/[\w.-]+", word):
                assert (ROOT / word).exists(), word
    assert {"callsheet doctor", "callsheet migrate"} <= asked
