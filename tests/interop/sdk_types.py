"""What an SDK made of a response, compared with its bytes and with the types that npm's twilio declares. Pure."""

from __future__ import annotations

import re
from typing import Any

#: A type of a .d.ts file: its alternatives as texts, or the fields of a class, each with its type.
Types = dict[str, "str | dict[str, Field]"]
#: Type, and whether it may be missing.
Field = tuple[str, bool]

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_BLOCK = re.compile(r"^(?:export )?(?:declare )?(?:class|interface) (\w+)[^{]*\{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
_ALIAS = re.compile(r"^export type (\w+) = (.*?);$", re.MULTILINE)
_FIELD = re.compile(r'"?(\w+)"?(\??): (.+)', re.DOTALL)
_LIST = re.compile(r"Array<(.+)>")
_MAP = re.compile(r"\{ \[key: string\]: (.+?);? \}|Record<string, (.+)>")
_PLAIN: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "number": (int, float),
    "boolean": bool,
    "object": (dict, list),
    "Date": str,
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def snake(name: str) -> str:
    """Return a field's name as PyPI's twilio spells it."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def read_types(text: str) -> Types:
    """Read the classes and aliases of a .d.ts file."""
    text = _COMMENT.sub("", text)
    found: Types = dict(_ALIAS.findall(text))
    for name, body in _BLOCK.findall(text):
        fields = [_FIELD.fullmatch(" ".join(one.split())) for one in split(body, ";")]
        found[name] = {match[1]: (match[3], bool(match[2])) for match in fields if match and "(" not in match[0]}
    return found


def split(text: str, separator: str) -> list[str]:
    """Split at a separator outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "{<(") - (letter in "}>)")
        if letter == separator and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def check_type(value: Any, declared: str, types: Types, where: str) -> list[str]:
    """Return where a value of the sandbox is not what the SDK declares; null fits everything."""
    options = split(declared, "|")
    if value is None or options[0] in {"any", "unknown"}:
        return []
    if len(options) > 1:
        fits = any(not check_type(value, each, types, where) for each in options)
        return [] if fits else [f"{where}: {value!r} is not in {declared}"]
    of_list, of_map = _LIST.fullmatch(declared), _MAP.fullmatch(declared)
    if of_list or of_map:
        return _check_parts(value, of_list, of_map, types, where)
    return _check_named(value, declared, types, where) if declared in types else _check_plain(value, declared, where)


def check_object(value: dict[str, Any], name: str, types: Types, where: str) -> list[str]:
    """Return what is wrong with an object of a class: unknown, missing and wrong fields."""
    fields = types[name]
    assert isinstance(fields, dict)
    known = {snake(each): each for each in fields if not each.startswith("_")}
    told = {snake(each): one for each, one in value.items()}
    problems = [f"{where}.{each}: unknown to the SDK" for each in told.keys() - known.keys()]
    for each, spelling in known.items():
        declared, is_optional = fields[spelling]
        if each in told:
            problems += check_type(told[each], declared, types, f"{where}.{each}")
        elif not is_optional:
            problems.append(f"{where}.{each}: missing")
    return sorted(problems)


def compare(wire: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    """Return where the object of an SDK tells something else than the bytes of the response."""
    told = {snake(name): value for name, value in wire.items()}
    told_here = {snake(name): value for name, value in seen.items()}
    problems = [f"{name}: not in the SDK's object" for name in told.keys() - told_here.keys()]
    for name, value in told_here.items():
        if name not in told and value is not None:
            problems.append(f"{name}: {value!r} although the response does not have it")
        if name in told and not is_same(told[name], value):
            problems.append(f"{name}: {value!r} for {told[name]!r}")
    return sorted(problems)


def is_same(wire: Any, seen: Any) -> bool:
    """Tell whether a value of an SDK is that of the response; times to the second, and null may be left out."""
    if isinstance(seen, dict) and "$time" in seen:
        return isinstance(wire, str) and wire[:19] == seen["$time"][:19]
    if isinstance(wire, dict) and isinstance(seen, dict):
        return all(is_same(wire.get(name), seen.get(name)) for name in wire.keys() | seen.keys())
    if isinstance(wire, list) and isinstance(seen, list):
        return len(wire) == len(seen) and all(map(is_same, wire, seen))
    return wire == seen and isinstance(wire, bool) is isinstance(seen, bool)


def is_kept(sent: Any, told: Any) -> bool:
    """Tell whether a response repeats what was sent; it may know more."""
    if isinstance(sent, dict) and isinstance(told, dict):
        return all(name in told and is_kept(value, told[name]) for name, value in sent.items())
    if isinstance(sent, list) and isinstance(told, list):
        return len(sent) == len(told) and all(map(is_kept, sent, told))
    return str(sent) == str(told)


def shape(value: Any) -> str:
    """Return the kind of a value, as two SDKs should agree on it."""
    if isinstance(value, dict):
        return "time" if "$time" in value else "object"
    return "none" if value is None else {str: "text", bool: "flag", list: "list"}.get(type(value), "number")


def differ(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the fields of which two SDKs tell another kind of value."""
    kinds, others = ({snake(name): shape(value) for name, value in each.items()} for each in (one, other))
    names = sorted(kinds.keys() | others.keys())
    pairs = [(name, kinds.get(name, "none"), others.get(name, "none")) for name in names]
    return [f"{name}: {kind} and {another}" for name, kind, another in pairs if kind != another]


def _is_literal(text: str) -> bool:
    return text.startswith('"')


def _check_parts(
    value: Any, of_list: re.Match[str] | None, of_map: re.Match[str] | None, types: Types, where: str
) -> list[str]:
    kind, what = (list, "list") if of_list else (dict, "object")
    if not isinstance(value, kind):
        return [f"{where}: {value!r} is no {what}"]
    of = of_list[1] if of_list else of_map[1] or of_map[2] if of_map else ""
    parts = [("[]", each) for each in value] if of_list else [(f".{name}", each) for name, each in value.items()]
    return [one for name, each in parts for one in check_type(each, of, types, where + name)]


def _check_named(value: Any, name: str, types: Types, where: str) -> list[str]:
    declared = types[name]
    if isinstance(declared, str):
        return check_type(value, declared, types, where)
    return check_object(value, name, types, where) if isinstance(value, dict) else [f"{where}: {value!r} is no {name}"]


def _check_plain(value: Any, declared: str, where: str) -> list[str]:
    expected = _PLAIN.get(declared)
    if expected is None:
        return [] if _is_literal(declared) and declared.strip('"') == value else [f"{where}: {value!r}, not {declared}"]
    is_flag = isinstance(value, bool) and declared != "boolean"
    if not isinstance(value, expected) or is_flag or (declared == "Date" and not _TIME.fullmatch(value)):
        return [f"{where}: {value!r} is no {declared}"]
    return []
