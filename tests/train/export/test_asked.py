from pathlib import Path

import pytest

from shards.base.errors import InputError
from train.export.asked import check_asked

FORMATS = ("onnx", "pt2", "hub")


def test_options_that_do_not_go_together_are_named() -> None:
    check_asked("onnx", Path("a"), "", formats=FORMATS)
    check_asked(None, None, "ward/cxr", formats=FORMATS)
    check_asked("hub", Path("a"), "ward/cxr", formats=FORMATS)
    for asked, message in (
        (("pt2", Path("a"), "ward/cxr"), "--push-to-hub ward/cxr: uploads --format hub, and no pt2"),
        ((None, Path("a"), ""), "--format: not given; give onnx, pt2 or hub, or --push-to-hub"),
        (("onnx", None, ""), "--output: not given"),
    ):
        with pytest.raises(InputError, match=message):
            check_asked(*asked, formats=FORMATS)
