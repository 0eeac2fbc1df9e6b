"""Whether every link inside the built site leads to a page, an image or a place in a page.

`python docs/check_links.py docs/_build/html` lists those that do not, and then fails. Sphinx checks
what is written in pages; this also sees raw HTML, the theme and the gallery. The links of the
estimators' HTML representations, which lead to the published site, must have their pages, too.
"""

import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import skrecurrent

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
ESTIMATORS = (skrecurrent.APRLRegressor, skrecurrent.FastWeightRegressor, skrecurrent.RTRLRegressor)


class Page(HTMLParser):
    """The places in a page that can be linked to, and what it links to or shows."""

    def __init__(self, path):
        super().__init__()
        self.places, self.links = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" or (tag == "a" and name == "name"):
                self.places.add(value)
            elif name in ("href", "src") and value:
                self.links.add(value)


def broken_links(site):
    paths = (path for path in site.rglob("*.html") if "_static" not in path.parts)
    pages = {path.resolve(): Page(path) for path in paths}
    for path, page in sorted(pages.items()):
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{path.relative_to(site.resolve())}: no such file: {link}"
            elif target in pages and unquote(parts.fragment) not in pages[target].places | {""}:
                yield f"{path.relative_to(site.resolve())}: no such place: {link}"


def missing_pages(site):
    published_at = tomllib.loads(PROJECT.read_text())["project"]["urls"]["Documentation"]
    for link in (estimator()._get_doc_link() for estimator in ESTIMATORS):
        if not link.startswith(published_at) or not (site / link[len(published_at) :]).exists():
            yield f"an estimator's representation: no such page: {link}"


if __name__ == "__main__":
    site = Path(sys.argv[1])
    broken = [*broken_links(site), *missing_pages(site)]
    print("\n".join(broken) or "All links inside the site lead somewhere.")
    sys.exit(bool(broken))
