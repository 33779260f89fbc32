"""docs/how-to/sqlalchemy.md on a server; on a file it is run as it stands, with the other sessions of the pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.run_to_end import run_to_end

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)
@pytest.mark.contract("EN9")
def test_an_order_its_webhook_and_its_mail_are_one_transaction_on_a_server_too(server: str, tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/sqlalchemy.md").read_text("utf-8")
    shown = re.search(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert shown is not None
    program = ROOT / "examples/sqlalchemy_shop/shop.py"
    done = run_to_end([sys.executable, "-W", "error", program, server], seconds=300, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # Messages to several recipients may go in any order.
    assert sorted(done.stdout.splitlines()) == sorted(shown[1].splitlines())
