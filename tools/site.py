"""Hooks of mkdocs: pages made of the repository, and a check of the built pages.

A link that leads out of docs/ leads to a file of the repository where the page is read in the repository, and to a copy
of the file in the site. README.md is the home page. The references of commands and of Python are made from the code.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple
from urllib.parse import urlsplit

import click

ROOT = Path(__file__).resolve().parent.parent
LOG = logging.getLogger("mkdocs.hooks.site")  # a warning of it fails a strict build
HOME = "README.md"
PAGES = ["CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"]  # and what pages link to
COMMANDS = "reference/commands.md"
PYTHON = "reference/python.md"
MODULES = {
    "ckpt2saved": "ckpt2saved/__init__.py",
    "ckpt2saved.hooks": "ckpt2saved/hooks.py",
    "ckpt2saved.errors": "ckpt2saved/errors/__init__.py",
    "ckpt2saved.client": "ckpt2saved/client/__init__.py",
    "ckpt2saved.ctc": "ckpt2saved/ctc/__init__.py",
}

LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2[ \t]*$", re.M | re.S)


def on_config(config: Any) -> Any:
    """Add the pages of docs/ that mkdocs.yml does not name to the guides."""
    named = re.findall(r"[\w./-]+\.md", str(config.nav))
    (guides,) = [entry["Guides"] for entry in config.nav if "Guides" in entry]
    guides += sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made, and the files of the repository that pages link to."""
    from mkdocs.structure.files import File

    def add(place: str, path: str) -> None:
        if place.endswith(".md"):
            files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
        else:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))

    files.append(File.generated(config, COMMANDS, content=commands_page()))
    files.append(File.generated(config, PYTHON, content=python_page()))
    found = {path: place_of(path) for path in [HOME, *PAGES]}
    for path, place in found.items():
        add(place, path)
    ahead = list(found) + [
        f"docs/{file.src_uri}" for file in files.documentation_pages() if (ROOT / "docs" / file.src_uri).exists()
    ]
    while ahead:
        path = ahead.pop()
        if path.endswith(".md"):
            for target in linked(path):
                if target not in found and not target.startswith("docs/") and (ROOT / target).is_file():
                    found[target] = place_of(target)
                    add(found[target], target)
                    ahead.append(target)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links lead to the copies in the site."""
    place = page.file.src_uri
    path = path_of(place)

    def target_of(match: Any) -> str:
        link = match.group(1)
        inside = resolved(path, link)
        if inside is None or (path.startswith("docs/") and inside.startswith("docs/")):
            return str(link)
        anchor = link.partition("#")[2]
        relative = posixpath.relpath(place_of(inside), posixpath.dirname(place) or ".")
        return relative + (f"#{anchor}" if anchor else "")

    return outside_of_code(markdown, lambda text: LINK.sub(target_of, without_folders(text, path)))


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Mark short code within text, so that no line ends within it."""
    return re.sub(r"(<(?!pre)\w+[^>]*>|[^>])<code>(?=[^<]{1,28}</code>)", r'\1<code class="whole">', html)


def on_post_build(config: Any) -> None:
    """Warn of everything in the built pages that a browser would fetch from elsewhere, and of misformed links."""
    site = Path(config.site_dir)
    for path in sorted(site.rglob("*.html")):
        for problem in problems_of(path.read_text(encoding="utf-8")):
            LOG.warning("%s: %s", path.relative_to(site), problem)
    for path in sorted(site.rglob("*.css")):
        for address in re.findall(
            r"(?:url\(|@import\s+)[\"']?((?:https?:)?//[^\"')]+)", path.read_text(encoding="utf-8")
        ):
            LOG.warning("%s: %s is fetched from elsewhere", path.relative_to(site), address)


def place_of(path: str) -> str:
    """Return where a file of the repository is in the site."""
    if path == HOME:
        return "index.md"
    return path[len("docs/") :] if path.startswith("docs/") else f"repository/{path}"


def path_of(place: str) -> str:
    """Return which file of the repository is at a place in the site."""
    if place == "index.md":
        return HOME
    return place[len("repository/") :] if place.startswith("repository/") else f"docs/{place}"


def resolved(path: str, link: str) -> Optional[str]:
    """Return the file or folder in the repository that a link of a page leads to; None for an address or an anchor."""
    if not link or link.startswith("#") or urlsplit(link).scheme:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link.partition("#")[0]))


def linked(path: str) -> Iterator[str]:
    """Yield the files of the repository that a page links to."""
    text = FENCE.sub("", (ROOT / path).read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        target = resolved(path, link)
        if target is not None:
            yield target


def without_folders(text: str, path: str) -> str:
    """Return the text with links to folders, which are no pages of the site, replaced by their words."""

    def words(match: Any) -> str:
        target = resolved(path, match.group(2))
        return str(match.group(1)) if target is not None and (ROOT / target).is_dir() else str(match.group(0))

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", words, text)


def outside_of_code(markdown: str, change: Any) -> str:
    """Return the page with the text outside of code blocks changed."""
    parts, end = [], 0
    for block in FENCE.finditer(markdown):
        parts += [change(markdown[end : block.start()]), block.group(0)]
        end = block.end()
    return "".join([*parts, change(markdown[end:])])


def commands_page() -> str:
    """Return the reference of the commands: the help of each."""
    from ckpt2saved.cli import main

    page = ["# Commands", "", "The help of each command, as `ckpt2saved COMMAND --help` prints it.", ""]
    for context in contexts_of(main, "ckpt2saved", None):
        if context.parent:
            page += [f"## {context.command_path.partition(' ')[2]}", ""]
        page += ["```text", context.get_help(), "```", ""]
    return "\n".join(page)


def contexts_of(command: click.Command, name: str, parent: Optional[click.Context]) -> Iterator[click.Context]:
    """Yield the command and those below it, as on a terminal of 80 columns."""
    settings = {**command.context_settings, "terminal_width": 80, "max_content_width": 80}
    context = command.context_class(command, parent, name, **settings)
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                yield from contexts_of(found, below, context)


def python_page() -> str:
    """Return the reference of Python: the docstrings of the modules that programs use, and what functions return."""
    page = ["# Python", "", "From the docstrings of the modules that programs may import.", ""]
    for module, path in MODULES.items():
        if (ROOT / path).exists():
            page += [f"::: {module}", ""]
    results = returned_classes(ROOT / MODULES["ckpt2saved"])
    if results:
        page += ["## What the functions return", ""]
        for name in results:
            page += [f"::: {name}", "    options:", "      heading_level: 3", "      show_root_full_path: false"]
            page += ["      merge_init_into_class: true", ""]
    return "\n".join(page)


def returned_classes(path: Path) -> List[str]:
    """Return the full names of the package's classes that functions of a module return."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ckpt2saved")
        for alias in node.names
    }
    names = [
        getattr(node.returns, "id", "")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    return [imported[name] for name in dict.fromkeys(names) if name in imported]


class Addresses(HTMLParser):
    """Collects what a page links to, and what a browser fetches for it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: List[str] = []
        self.fetched: List[str] = []

    def handle_starttag(self, tag: str, attrs: List[Tuple[str, Optional[str]]]) -> None:
        values: Dict[str, str] = {key: value or "" for key, value in attrs}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.fetched.append(values.get("href", ""))
        elif "src" in values:
            self.fetched.append(values["src"])
        self.fetched += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]


def problems_of(html: str) -> Iterator[str]:
    """Yield what is wrong with the addresses of a page."""
    addresses = Addresses()
    addresses.feed(html)
    for address in addresses.fetched:
        if urlsplit(address).netloc:
            yield f"{address} is fetched from elsewhere"
    for address in addresses.links:
        parts = urlsplit(address)
        if parts.scheme and parts.scheme not in ("https", "http", "mailto"):
            yield f"{address}: not an address of a page"
        elif parts.scheme.startswith("http") and not re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", parts.netloc):
            yield f"{address}: {parts.netloc!r} is no host"
