"""Files of the site that lie elsewhere: README, CONTRIBUTING, CHANGELOG, results, and each folder's interfaces.

MkDocs calls the functions below (``hooks`` in mkdocs.yml).
"""

import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PACKAGES = ("shards", "pipeline", "train", "eval", "benchmarks", "moco_cxr")
RESULTS = "benchmarks/results"
TEXTS = {"index.md": "README.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "CHANGELOG.md": "CHANGELOG.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Appends the interfaces to the navigation: a section a package, a page a folder."""
    sections = [{package: [page_of(folder) for folder in folders(package)]} for package in PACKAGES]
    config.nav = [*config.nav, {"Interfaces": ["interfaces.md", *sections]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages, and the results that pages refer to."""
    for page, name in TEXTS.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    files.append(File.generated(config, "tutorial.md", content=of_notebook(ROOT / "docs" / "tutorial.ipynb")))
    for package in PACKAGES:
        for folder in folders(package):
            files.append(File.generated(config, page_of(folder), content=interfaces(folder)))
    for path in (ROOT / RESULTS).glob("*.json"):
        files.append(File.generated(config, f"{RESULTS}/{path.name}", abs_src_path=str(path)))
    return files


def of_notebook(path: Path) -> str:
    """A notebook's texts and code as a page."""
    cells = json.loads(path.read_text())["cells"]
    texts = ("".join(cell["source"]) for cell in cells)
    kinds = (cell["cell_type"] for cell in cells)
    return "\n\n".join(
        f"```python\n{text}\n```" if kind == "code" else text for kind, text in zip(kinds, texts, strict=True)
    )


def on_page_markdown(text: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links into those of the site, and names of modules and what is in them into links to their interfaces."""
    text = text.replace("](docs/", "](").replace("](../README.md)", "](index.md)")
    text = text.replace("](../CONTRIBUTING.md", "](CONTRIBUTING.md")
    text = text.replace(f"](../../{RESULTS}/", "](results/").replace(f"](../{RESULTS}/", f"]({RESULTS}/")
    text = re.sub(r"\[([^]]*)\]\((?:LICENSE|CITATION\.cff)\)", r"`\1`", text)
    return re.sub(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", r"[`\1`][\1]", text)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Takes the roles off the names that docstrings mention."""
    return re.sub(r":(?:attr|class|data|func|meth|mod):(?=<code>)", "", html)


def folders(package: str) -> list[Path]:
    return sorted({path.parent.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")})


def page_of(folder: Path) -> str:
    return f"interfaces/{'.'.join(folder.parts)}.md"


def interfaces(folder: Path) -> str:
    """The folder's own docstring and that of each module in it, with all public names."""
    name = ".".join(folder.parts)
    modules = sorted(path.stem for path in (ROOT / folder).glob("[!_]*.py"))
    return "\n\n".join([f"# {name}", f"::: {name}", *(f"::: {name}.{module}" for module in modules)])
