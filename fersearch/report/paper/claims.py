"""What the source paper claims: ``reports/claims.toml``, loaded and checked.

Every figure keeps the digits it is printed with, since ``0.90`` and ``0.9`` allow different values.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from fersearch.errors import InputError, suggestion
from fersearch.plugins import shipped
from fersearch.report.paper.claim_models import (
    Claim,
    Claims,
    ClaimTable,
    Count,
    OtherPaper,
    PaperProtocol,
    Scope,
    Source,
    Statement,
)
from fersearch.spec.rules import Place, integer, parse_fields, require_table, text

__all__ = ["Claim", "Claims", "claimed_for", "load_claims", "parse_claims"]

CLAIMS_FILE = "claims.toml"
FORMAT_VERSION = 1
SECTIONS = (
    "version",
    "source",
    "protocol",
    "table",
    "count",
    "class_counts",
    "scope",
    "statement",
    "other",
)

T = TypeVar("T")


@lru_cache(maxsize=1)
def load_claims() -> Claims:
    """Return the shipped claims.

    >>> load_claims().figures["II.ferplus.distilled.accuracy"].printed
    '91.62'
    """
    return parse_claims(shipped("reports", CLAIMS_FILE).read_text(encoding="utf-8"), CLAIMS_FILE)


def claimed_for(row_model: str, role: str, data_kind: str) -> dict[str, float] | None:
    """Return what the paper claims for a model, to stand beside its measured figures.

    For the teacher, the student alone and the distilled student the figures are Table II's; its
    accuracy only where the data are FERPlus. For the baselines they are Table III's, whose data
    set the paper does not state.

    Args:
        row_model: timm name.
        role: ``teacher``, ``student``, ``distilled`` or ``baseline``.
        data_kind: Kind of the measured data, ``ferplus`` or another.

    Returns:
        ``accuracy`` and ``precision`` in 0-1 and ``params_m`` in millions, each only where the
        paper gives it; None when it claims nothing of this model in this role.

    >>> claimed_for("shufflenet_v2_x1_0", "distilled", "ferplus")
    {'accuracy': 0.9162, 'params_m': 1.2}
    >>> claimed_for("tfen", "baseline", "synthetic")
    {'accuracy': 0.906, 'precision': 0.898, 'params_m': 4.5}
    """
    table, data = ("III", "") if role == "baseline" else ("II", "ferplus")
    found = {
        claim.column: claim
        for claim in load_claims().of_table(table)
        if (claim.model, claim.role, claim.data) == (row_model, role, data)
    }
    if data_kind != data and data:
        found.pop("accuracy", None)
    claimed: dict[str, float] = {}
    for name in ("accuracy", "precision"):
        if name in found:
            claimed[name] = round(found[name].value, 6)
    if "params" in found:
        claimed["params_m"] = float(found["params"].printed)
    return claimed or None


def parse_claims(content: str, source: str = "") -> Claims:
    """Read the text of a claims file.

    Args:
        content: TOML.
        source: Where the text came from, for error messages.

    Raises:
        InputError: The text is not TOML, a key is unknown or missing, a value breaks its rule, an
            id is given twice, or something names an id that is not there. The message names the
            key's path.
    """
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{source or 'the claims'} is not valid TOML: {error}") from error
    top = Place(source)
    for key in table:
        if key not in SECTIONS:
            raise top.child(key).error("is not a known key", suggestion(key, SECTIONS))
    for key in SECTIONS:
        if key not in table:
            raise top.child(key).error("is missing")
    if table["version"] != FORMAT_VERSION:
        raise top.child("version").broken(str(FORMAT_VERSION), table["version"])
    figures: dict[str, Claim] = {}
    tables: dict[str, ClaimTable] = {}
    for place, entry in _entries(table["table"], top.child("table")):
        one = ClaimTable(**parse_fields(ClaimTable, entry, place, also=["figures"]))
        _add(tables, one.id, one, place)
        listed = require_table(entry, place).get("figures", [])
        for inner, figure in _entries(listed, place.child("figures")):
            claim = _claim(figure, inner, one)
            _add(figures, claim.id, claim, inner)
    claims = Claims(
        protocol=_single(PaperProtocol, table["protocol"], top.child("protocol")),
        scope=_single(Scope, table["scope"], top.child("scope")),
        tables=MappingProxyType(tables),
        figures=MappingProxyType(figures),
        counts=_by_id(Count, table["count"], top.child("count")),
        class_counts=_class_counts(table["class_counts"], top.child("class_counts")),
        statements=tuple(_by_id(Statement, table["statement"], top.child("statement")).values()),
        others=tuple(
            _single(OtherPaper, entry, place)
            for place, entry in _entries(table["other"], top.child("other"))
        ),
        sources=_by_id(Source, table["source"], top.child("source")),
    )
    _check_names(claims, table["class_counts"].get("source", ""), top)
    return claims


def _entries(value: object, place: Place) -> list[tuple[Place, object]]:
    if not isinstance(value, list):
        raise place.broken("a list of tables", value)
    return [(place.child(index), entry) for index, entry in enumerate(value)]


def _single(kind: type[T], value: object, place: Place) -> T:
    return kind(**parse_fields(kind, value, place))


def _add(found: dict[str, T], key: str, value: T, place: Place) -> None:
    if key in found:
        raise place.child("id").error(f"{key!r} is given twice")
    found[key] = value


def _by_id(kind: type[Any], value: object, place: Place) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for here, entry in _entries(value, place):
        item = _single(kind, entry, here)
        _add(found, item.id, item, here)
    return MappingProxyType(found)


def _claim(entry: object, place: Place, table: ClaimTable) -> Claim:
    values = parse_fields(Claim, entry, place, also=["class"])
    name = require_table(entry, place).get("class", "")
    values["class_name"] = text()(name, place.child("class"))
    values["id"] = f"{table.id}.{values['id']}"
    claim = Claim(table=table.id, source=table.source, **values)
    if (claim.unit == "none") is not (claim.printed == ""):
        raise place.child("printed").error("must be empty exactly when the unit is none")
    return claim


def _class_counts(value: object, place: Place) -> Mapping[str, Mapping[str, int]]:
    rule = integer(at_least=1)
    found = {}
    for name, counts in require_table(value, place).items():
        if name == "source":
            continue
        here = place.child(name)
        entries = require_table(counts, here).items()
        found[name] = MappingProxyType({key: rule(item, here.child(key)) for key, item in entries})
    return MappingProxyType(found)


def _check_names(claims: Claims, class_source: object, top: Place) -> None:
    """Refuse ids that lead nowhere."""

    def check(name: object, known: Mapping[str, Any], place: Place) -> None:
        if name not in known:
            raise place.error(f"{name!r} is not there", suggestion(str(name), known))

    check(class_source, claims.sources, top.child("class_counts").child("source"))
    for section, item in (("protocol", claims.protocol), ("scope", claims.scope)):
        check(item.source, claims.sources, top.child(section).child("source"))
    groups: dict[str, Sequence[Any]] = {
        "table": tuple(claims.tables.values()),
        "count": tuple(claims.counts.values()),
        "statement": claims.statements,
        "other": claims.others,
    }
    for section, items in groups.items():
        for index, item in enumerate(items):
            place = top.child(section).child(index).child("source")
            check(item.source, claims.sources, place)
    lists = {"figures": claims.figures, "decides": claims.figures, "counts": claims.counts}
    for index, statement in enumerate(claims.statements):
        for field, known in lists.items():
            here = top.child("statement").child(index).child(field)
            for position, name in enumerate(getattr(statement, field)):
                check(name, known, here.child(position))
