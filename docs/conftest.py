"""Code on the pages is run by pytest; pages about other packages only where these are installed."""

from importlib.util import find_spec

NEEDS = {
    "coming_from/reservoirpy.md": "reservoirpy",
    "coming_from/river.md": "river",
    "coming_from/torch.md": "torch",
    "cluster.md": "distributed",
    "persistence.md": "skops",
}

collect_ignore = [page for page, module in NEEDS.items() if find_spec(module) is None]
collect_ignore_glob = ["*.py", "_build", "auto_examples", "generated"]
