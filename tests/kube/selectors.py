"""Label and field selectors, quantities and times, in the API server's grammar."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from tests.kube.status import bad_request

Match = Callable[[dict[str, Any]], bool]

LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?")
_SUFFIXES = {
    **{name: Decimal(1024) ** (power + 1) for power, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))},
    **{name: Decimal(1000) ** (power + 1) for power, name in enumerate(("k", "M", "G", "T", "P", "E"))},
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
}
_REQUIREMENT = re.compile(
    r"\s*(?:"
    r"(?P<absent>!)\s*(?P<absent_key>[^\s,!=<>()]+)"
    r"|(?P<set_key>[^\s,!=<>()]+)\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<key>[^\s,!=<>()]+)\s*(?P<operator>==|=|!=|>|<)\s*(?P<value>[^\s,!=<>()]*)"
    r"|(?P<present_key>[^\s,!=<>()]+)"
    r")\s*(?:,|$)"
)


def quantity(text: object) -> Decimal:
    """A quantity such as ``1500m`` or ``2Gi`` in its base unit; ValueError where it is none."""
    found = _QUANTITY.fullmatch(str(text))
    if not found or isinstance(text, bool):
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, exponent, suffix = found.groups()
    return Decimal(number + (exponent or "")) * _SUFFIXES.get(suffix or "", Decimal(1))


def canonical(amount: object) -> str:
    """A quantity as the server gives it back: ``4096Mi`` is ``4Gi``, ``1000m`` is ``1``.

    The largest suffix with which the number stays whole, powers of 1024 where they were given, thousandths at the least
    (``Quantity.CanonicalizeBytes`` of k8s.io/apimachinery).
    """
    value = quantity(amount)
    if str(amount).endswith("i") and abs(value) >= 1024:
        return _with_suffix(math.ceil(value), 1024, ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
    return _with_suffix(math.ceil(value * 1000), 1000, ("m", "", "k", "M", "G", "T", "P", "E"))


def _with_suffix(number: int, base: int, suffixes: tuple[str, ...]) -> str:
    power = 0
    while number and number % base == 0 and power < len(suffixes) - 1:
        number, power = number // base, power + 1
    return f"{number}{suffixes[power]}" if number else "0"


def utc_now() -> datetime:
    return datetime.now(UTC)


def seconds_text(moment: datetime) -> str:
    """A time as objects carry it: whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def nanos_text(moment: datetime) -> str:
    """A time as log lines carry it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def parse_time(text: str) -> datetime:
    """RFC 3339 with up to nanoseconds; ValueError where it is not."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", text)
    if not found:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"')
    whole, fraction, zone = found.groups()
    return datetime.fromisoformat(whole + (fraction or ".0")[:7] + ("+00:00" if zone == "Z" else zone))


def label_key_error(key: str) -> str | None:
    """Why a label's or annotation's key is refused."""
    prefix, slash, name = key.rpartition("/")
    if slash and (not DNS_SUBDOMAIN.fullmatch(prefix) or len(prefix) > 253):
        return (
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        )
    if not name:
        return "name part must be non-empty"
    if len(name) > 63:
        return "name part must be no more than 63 characters"
    if not LABEL_NAME.fullmatch(name):
        return (
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        )
    return None


def label_value_error(value: str) -> str | None:
    """Why a label's value is refused."""
    if len(value) > 63:
        return "must be no more than 63 characters"
    if not LABEL_VALUE.fullmatch(value):
        return (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
            "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        )
    return None


def label_selector(text: str) -> Match:
    """Equality and set based requirements; 400 where they do not parse."""
    requirements: list[Callable[[dict[str, str]], bool]] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if not found or found.end() == at:
            raise bad_request(f"unable to parse requirement: found '{text[at:]}', expected: identifier after ','")
        requirements.append(_requirement(found.groupdict()))
        at = found.end()
    if text.endswith(","):
        raise bad_request("unable to parse requirement: found '', expected: identifier after ','")
    return lambda item: all(each(item["metadata"].get("labels") or {}) for each in requirements)


def _requirement(found: dict[str, str | None]) -> Callable[[dict[str, str]], bool]:
    key = found["absent_key"] or found["set_key"] or found["key"] or found["present_key"] or ""
    if why := label_key_error(key):
        raise bad_request(f'key: Invalid value: "{key}": {why}')
    if found["absent_key"]:
        return lambda labels: key not in labels
    if found["present_key"]:
        return lambda labels: key in labels
    operator = found["set"] or found["operator"]
    values = {each.strip() for each in (found["values"] or "").split(",")} if found["set"] else {found["value"] or ""}
    for value in values:
        if why := label_value_error(value):
            raise bad_request(f'values[0][{key}]: Invalid value: "{value}": {why}')
    if operator in (">", "<"):
        bound = int(next(iter(values)))
        return lambda labels: (
            labels.get(key, "").isdigit()
            and (int(labels[key]) > bound if operator == ">" else int(labels[key]) < bound)
        )
    if operator in ("in", "=", "=="):
        return lambda labels: labels.get(key) in values
    return lambda labels: labels.get(key) not in values


_FIELDS = {
    "pods": (
        "metadata.name",
        "metadata.namespace",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
    ),
    "events": (
        "metadata.name",
        "metadata.namespace",
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "nodes": ("metadata.name", "spec.unschedulable"),
}


def field_selector(text: str, resource: str) -> Match:
    """``a=b,c!=d`` over the fields that the resource supports; 400 for any other."""
    terms: list[tuple[str, bool, str]] = []
    for term in filter(None, text.split(",")):
        found = re.fullmatch(r"\s*([^=!]+?)\s*(!=|==|=)\s*(.*?)\s*", term)
        if not found:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        field, operator, value = found.groups()
        if field not in _FIELDS.get(resource, ("metadata.name",)):
            raise bad_request(
                f'Unable to find "/v1, Resource={resource}" that match label selector "", field selector "{text}": '
                f"field label not supported: {field}"
            )
        terms.append((field, operator != "!=", value))
    return lambda item: all((_field(item, field) == value) is wanted for field, wanted, value in terms)


def _field(item: dict[str, Any], path: str) -> str:
    if path == "source":
        return str(item.get("source", {}).get("component", ""))
    value: Any = item
    for name in path.split("."):
        value = (value or {}).get(name)
    return "" if value is None else str(value)
