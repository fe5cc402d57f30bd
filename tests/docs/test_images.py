import re

from tests.conftest import ROOT


def test_each_reason_of_a_rejection_is_explained():
    """Those that code names where it rejects; docs/images.md has a table of them."""
    sources = [path.read_text() for path in (ROOT / "shards").rglob("*.py")]
    reasons = {reason for source in sources for reason in re.findall(r'reason="([a-z-]+)"', source)}
    assert {"bad-row", "missing", "boxes-outside"} < reasons
    explained = set(re.findall(r"`([a-z-]+)`", (ROOT / "docs/images.md").read_text()))
    assert reasons <= explained
