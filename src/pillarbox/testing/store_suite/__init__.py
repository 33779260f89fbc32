"""
The suite that every store must pass: subclass `StoreSuite`, give it ``make_store`` and ``backstage``.

Nothing in it knows a database. Tests name the promises they keep with ``@pytest.mark.contract``; register that marker,
and call ``pytest.register_assert_rewrite`` on this package before importing it, to see what an assertion compared.
"""

from __future__ import annotations

from pillarbox.testing.store_suite.abandoning import AbandoningSuite
from pillarbox.testing.store_suite.accepting import AcceptingSuite
from pillarbox.testing.store_suite.breaking import BreakingSuite
from pillarbox.testing.store_suite.changing import ChangingSuite
from pillarbox.testing.store_suite.collapsing import CollapsingSuite
from pillarbox.testing.store_suite.driver import Backstage, MakeStore, StoreDriver
from pillarbox.testing.store_suite.ending import EndingSuite
from pillarbox.testing.store_suite.explaining import ExplainingSuite
from pillarbox.testing.store_suite.fixtures import OpenDriver
from pillarbox.testing.store_suite.handles import HandleSuite
from pillarbox.testing.store_suite.harm import HarmSuite
from pillarbox.testing.store_suite.keeping import KeepingSuite
from pillarbox.testing.store_suite.keys import KeySuite
from pillarbox.testing.store_suite.lanes import LaneSuite
from pillarbox.testing.store_suite.late import LateSuite
from pillarbox.testing.store_suite.leasing import LeasingSuite
from pillarbox.testing.store_suite.limits import LimitSuite
from pillarbox.testing.store_suite.operating import OperatingSuite
from pillarbox.testing.store_suite.pacing import PacingSuite
from pillarbox.testing.store_suite.part_ends import PartEndSuite
from pillarbox.testing.store_suite.parts import PartSuite
from pillarbox.testing.store_suite.redirecting import RedirectingSuite
from pillarbox.testing.store_suite.refusing import RefusingSuite
from pillarbox.testing.store_suite.repeating import RepeatingSuite
from pillarbox.testing.store_suite.replaying import ReplayingSuite
from pillarbox.testing.store_suite.resolving import ResolvingSuite
from pillarbox.testing.store_suite.selecting import SelectingSuite
from pillarbox.testing.store_suite.starting import StartingSuite
from pillarbox.testing.store_suite.states import StateSuite
from pillarbox.testing.store_suite.stepping import SteppingSuite
from pillarbox.testing.store_suite.storing import FileSuite
from pillarbox.testing.store_suite.suppressing import SuppressingSuite

__all__ = ["Backstage", "MakeStore", "OpenDriver", "StoreDriver", "StoreSuite"]


class StoreSuite(
    AcceptingSuite,
    AbandoningSuite,
    LimitSuite,
    KeySuite,
    KeepingSuite,
    LeasingSuite,
    StartingSuite,
    HarmSuite,
    RedirectingSuite,
    RefusingSuite,
    LaneSuite,
    SteppingSuite,
    CollapsingSuite,
    ChangingSuite,
    FileSuite,
    StateSuite,
    SuppressingSuite,
    LateSuite,
    BreakingSuite,
    OperatingSuite,
    PacingSuite,
    ResolvingSuite,
    ReplayingSuite,
    RepeatingSuite,
    SelectingSuite,
    EndingSuite,
    ExplainingSuite,
    PartSuite,
    PartEndSuite,
    HandleSuite,
):
    """All of it."""
