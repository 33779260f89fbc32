"""
YAML, read with suspicion: plain values only, no key twice, and no document that grows when it is read.

Words and numbers are those of YAML 1.2's core schema (yaml.org/spec/1.2.2, 10.3.2), as Comis's own reader takes them:
``010`` is ten, ``off`` and ``1:00:00`` are texts. PyYAML's own are YAML 1.1's, where they are eight, false and 3600.

Importing this module imports PyYAML, so it is imported when there is YAML to read. Complaints never quote the
document: a line of it could be a secret.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final

import yaml
from yaml.events import AliasEvent
from yaml.nodes import MappingNode, Node, ScalarNode

ALIASES_MAX: Final = 100
_MERGED_KEYS_MAX: Final = 10_000
_YAML: Final = "tag:yaml.org,2002:"
_MERGE_TAG: Final = f"{_YAML}merge"
# What PyYAML lets through when a tag promises what the text does not hold: !!bool maybe, !!int "", !!timestamp x.
_STUMBLES: Final = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError)
_QUOTED: Final = re.compile(r"['\"].*['\"]", re.DOTALL)


_INTEGERS: Final = (
    (re.compile(r"[-+]?[0-9]+"), 10),
    (re.compile(r"0o([0-7]+)"), 8),
    (re.compile(r"0x([0-9a-fA-F]+)"), 16),
)
_FLOAT: Final = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_BOOLEAN: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_DIGITS_MAX: Final = 4000
_WHOLE_MAX: Final = 1 << 53


class BadYaml(Exception):
    """The text is no YAML that we read; the message says what is wrong with it, and where."""


def _whole(pattern: re.Pattern[str]) -> re.Pattern[str]:
    return re.compile(rf"\A(?:{pattern.pattern})\Z")


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, depth_max: int) -> None:
        super().__init__(text)
        self._depth_max = self._depth_left = depth_max
        self._aliases_left = ALIASES_MAX

    # In the order in which they are tried, by the first character; None is for every one.
    yaml_implicit_resolvers: ClassVar[dict[str | None, list[tuple[str, re.Pattern[str]]]]] = {  # type: ignore[misc]
        None: [
            (f"{_YAML}bool", _whole(_BOOLEAN)),
            (f"{_YAML}null", _whole(_NULL)),
            *((f"{_YAML}int", _whole(pattern)) for pattern, _ in _INTEGERS),
            (f"{_YAML}float", _whole(_FLOAT)),
            (_MERGE_TAG, re.compile("<<")),
        ],
    }

    def construct_integer(self, node: ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        for pattern, base in _INTEGERS:
            found = pattern.fullmatch(text)
            if found is not None and len(text) <= _DIGITS_MAX:
                return int(found[found.lastindex or 0], base)
        raise ValueError(text)

    def construct_number(self, node: ScalarNode) -> float:
        text = str(self.construct_scalar(node))
        if _FLOAT.fullmatch(text) is None or len(text) > _DIGITS_MAX:
            raise ValueError(text)
        value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        # To JavaScript 1e3 and 60000.0 are whole numbers like any other.
        return int(value) if value.is_integer() and abs(value) <= _WHOLE_MAX else value

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self.check_event(AliasEvent):
            self._aliases_left -= 1
            if self._aliases_left < 0:
                raise BadYaml(f"more than {ALIASES_MAX} aliases")
        # The values inside the innermost table are one deeper than it.
        if self._depth_left < 0:
            raise BadYaml(f"tables nested deeper than {self._depth_max}")
        self._depth_left -= 1
        node = super().compose_node(parent, index)
        self._depth_left += 1
        return node

    def compose_mapping_node(self, anchor: dict[Any, Node]) -> MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise BadYaml(f"{_at(key.start_mark)}: the key {key.value[:64]!r} stands there twice")
            seen.add((key.tag, key.value))
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        super().flatten_mapping(node)
        # Merging merged tables doubles them each time.
        if len(node.value) > _MERGED_KEYS_MAX:
            raise BadYaml(f"{_at(node.start_mark)}: more than {_MERGED_KEYS_MAX} keys merged into one table")


_Loader.add_constructor(f"{_YAML}int", _Loader.construct_integer)
_Loader.add_constructor(f"{_YAML}float", _Loader.construct_number)


def parse(text: str, *, depth_max: int) -> object:
    """
    Read one document into dicts, lists and plain values; ``None`` for an empty one.

    Raises:
        BadYaml: Not YAML, a tag that would make an object, a key twice, several documents, tables nested deeper than
            *depth_max*, or more than 100 aliases.
    """
    try:
        loader = _Loader(text, depth_max)
        try:
            value: object = loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        # What stands in quotation marks is out of the document.
        problem = _QUOTED.sub("…", exc.problem or exc.context or "not YAML")
        raise BadYaml(f"{_at(mark)}: {problem}") from None
    except yaml.reader.ReaderError as exc:
        raise BadYaml(f"position {exc.position}: a character that YAML does not allow") from None
    except _STUMBLES:
        raise BadYaml("a value that cannot be read") from None
    return value


def _at(mark: yaml.Mark | None) -> str:
    return "somewhere" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"
