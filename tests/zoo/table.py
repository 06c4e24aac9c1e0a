"""The outcomes as `docs/zoo.md`."""
def written(found): return ""
