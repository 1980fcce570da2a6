"""A hook of MkDocs: files outside of `docs/` as pages, and links to them as GitHub has them."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/gpu/README.md": "gpu.md",
    "recipes": "recipe-files.md",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")


def on_files(files, *, config):
    """Add the pages whose sources stand outside of `docs/`."""
    for source, page in PAGES.items():
        path = ROOT / source
        text = recipe_files(path) if path.is_dir() else path.read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, *, page, config, files):
    """Turn links between files of the repository into links between pages of the site."""
    name = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(name, f"docs/{name}"))

    def on_site(match):
        path = posixpath.normpath(posixpath.join(folder, match[0]))
        target = PAGES.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(target) is None and (ROOT / path).is_file():
            files.append(File.generated(config, target, abs_src_path=str(ROOT / path)))
        return posixpath.relpath(target, posixpath.dirname(name) or ".")

    return LINK.sub(on_site, markdown)


def recipe_files(folder):
    """A page with every recipe file."""
    parts = ["# Recipe files\n\n`vantage recipes` names the directory that holds these files.\n"]
    for file in sorted(folder.rglob("*.yaml")):
        name, text = file.relative_to(folder).as_posix(), file.read_text(encoding="utf-8")
        parts.append(f"## {name}\n\n```yaml\n{text.rstrip()}\n```\n")
    return "\n".join(parts)
