"""
Asks each question in a process of its own.

What one question leaves behind, such as modules and what they remember, is looked at whenever Python collects garbage:
a life took a sixth more processor time where it was measured after other questions.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.harness.figure import Figure
    from bench.harness.plan import Plan


def asked(module: str, plan: Plan) -> list[Figure]:
    """Return what the ``measure`` of a module finds. Raises what that raises."""
    new = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=new) as alone:
        return alone.submit(_ask, module, plan).result()


def _ask(module: str, plan: Plan) -> list[Figure]:
    figures: list[Figure] = importlib.import_module(module).measure(plan)
    return figures
