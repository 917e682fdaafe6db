"""The paper's claims as frozen dataclasses; the module ``claims`` reads them from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from fersearch.spec.rules import Place, Rule, integer, number, one_of, setting, text

__all__ = [
    "Claim",
    "ClaimTable",
    "Claims",
    "Count",
    "OtherPaper",
    "PaperProtocol",
    "Scope",
    "Source",
    "Statement",
]

UNITS = ("fraction", "percent", "millions", "none")
DATA = ("ferplus", "own", "")
ROLES = ("teacher", "student", "distilled", "baseline")

T = TypeVar("T")


def texts() -> Rule[tuple[str, ...]]:
    """Return the rule of a list of texts."""
    return _list_of(text(r"(?s).+", rule="a text that is not empty"), "a list of texts")


def integers() -> Rule[tuple[int, ...]]:
    """Return the rule of a list of whole numbers above 0."""
    return _list_of(integer(at_least=1), "a list of whole numbers")


def _list_of(rule: Rule[T], words: str) -> Rule[tuple[T, ...]]:
    def check(value: object, place: Place) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise place.broken(words, value)
        return tuple(rule(item, place.child(index)) for index, item in enumerate(value))

    return check


some = text(r"(?s).+", rule="a text that is not empty")
printed_number = text(r"(\d+(\.\d+)?)?", rule='a number as it is printed, such as "0.90"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a figure comes from.

    Attributes:
        id: What the other tables name it by.
        name: Authors and short name.
        title: Title, or what it is.
    """

    id: str = setting(some)
    name: str = setting(some)
    title: str = setting(text(), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One printed figure.

    Attributes:
        id: Table and figure, ``II.ferplus.teacher.accuracy``.
        table: ``I`` to ``IV``, or ``text``.
        row: Title of its row.
        column: What it is a figure of: ``accuracy``, ``precision``, ``params``, ``recall``.
        unit: ``fraction``, ``percent``, ``millions`` or ``none``.
        printed: Its digits as printed; empty when the claim is no number.
        data: ``ferplus``, ``own`` (the authors' pictures), or empty where the paper does not say.
        role: ``teacher``, ``student``, ``distilled`` or ``baseline``.
        model: timm name.
        class_name: Class, for a recall; empty otherwise.
        temperature: Temperature, for a setting; None otherwise.
        alpha: Weight of the soft loss, for a setting; None otherwise.
        source: Id of its source.
    """

    id: str = setting(some)
    table: str = ""
    row: str = setting(some)
    column: str = setting(some)
    unit: str = setting(one_of(*UNITS))
    printed: str = setting(printed_number)
    data: str = setting(one_of(*DATA), "")
    role: str = setting(one_of(*ROLES))
    model: str = setting(some)
    class_name: str = ""
    temperature: float | None = setting(number(above=0.0), optional=True)
    alpha: float | None = setting(number(at_least=0.0, at_most=1.0), optional=True)
    source: str = ""

    @property
    def decimals(self) -> int:
        """Digits after the point, as printed."""
        return len(self.printed.partition(".")[2])

    @property
    def scale(self) -> float:
        """What one printed unit is worth: a share (0-1) for scores, a million for sizes."""
        return {"percent": 0.01, "millions": 1.0e6}.get(self.unit, 1.0)

    @property
    def value(self) -> float:
        """The claim in plain units: a share in 0-1, or a number of parameters."""
        return float(self.printed) * self.scale

    @property
    def half_step(self) -> float:
        """Half of the last printed digit, in plain units: what rounding may have hidden."""
        return 0.5 * 10.0**-self.decimals * self.scale

    @property
    def shown(self) -> str:
        """The claim as printed, with its unit."""
        return self.printed + {"percent": " %", "millions": " M"}.get(self.unit, "")

    @property
    def percent(self) -> str:
        """A share as percent with the digits that are printed: 0.90 is ``90``."""
        if self.unit == "percent":
            return self.printed
        return f"{100 * Decimal(self.printed):.{max(0, self.decimals - 2)}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimTable:
    """One table of the paper: ``id``, ``title``, id of its ``source``, and a ``note`` on it."""

    id: str = setting(some)
    title: str = setting(some)
    source: str = setting(some)
    note: str = setting(text(), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A known whole number: ``id``, ``value``, ``what`` it counts, id of its ``source``."""

    id: str = setting(some)
    value: int = setting(integer(at_least=1))
    what: str = setting(some)
    source: str = setting(some)


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperProtocol:
    """The conditions that the paper states for its experiments.

    Attributes:
        source: Id of the source.
        data: Name of the data set in the paper.
        data_kind: What this program calls it.
        image_size: Height and width in pixels.
        epochs: Epochs of training.
        batch_size: Images a step.
        learning_rate: Learning rate at the start.
        ffe_splits: Channel subsets of the teacher's FFE blocks.
        loss: This program's name of the distillation loss.
        recipe: This program's name of the training recipe.
        pretraining: What the teacher was trained on before.
    """

    source: str = setting(some)
    data: str = setting(some)
    data_kind: str = setting(some)
    image_size: int = setting(integer(at_least=1))
    epochs: int = setting(integer(at_least=1))
    batch_size: int = setting(integer(at_least=1))
    learning_rate: float = setting(number(above=0.0))
    ffe_splits: int = setting(integer(at_least=1))
    loss: str = setting(some)
    recipe: str = setting(some)
    pretraining: str = setting(some)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the paper announces, defines and prints beside its tables.

    Attributes:
        source: Id of the source.
        announced_data: Data sets that it says it uses.
        defined_metrics: Measures that it defines.
        classes_of_the_definitions: How many classes those definitions tell apart.
        maxpool_output: Height and width printed for the first max-pooling's output.
        ffe_output: Height, width and channels printed for an FFE block's output.
    """

    source: str = setting(some)
    announced_data: tuple[str, ...] = setting(texts())
    defined_metrics: tuple[str, ...] = setting(texts())
    classes_of_the_definitions: int = setting(integer(at_least=2))
    maxpool_output: int = setting(integer(at_least=1))
    ffe_output: tuple[int, ...] = setting(integers())


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What the paper says, and the check that is made of it.

    Attributes:
        id: Id of the audit's item.
        text: What the paper says, in our words.
        check: Name of the check.
        source: Id of the source.
        figures: Ids of the claims that the check reads.
        counts: Ids of the counts that it reads.
        decides: Ids of the claims whose cell it turns into ``internally inconsistent``.
    """

    id: str = setting(some)
    text: str = setting(some)
    check: str = setting(some)
    source: str = setting(some)
    figures: tuple[str, ...] = setting(texts(), ())
    counts: tuple[str, ...] = setting(texts(), ())
    decides: tuple[str, ...] = setting(texts(), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPaper:
    """Figures of another paper as printed; empty where it gives none.

    Attributes:
        model: Name of the model.
        source: Id of its paper.
        ferplus: Accuracy on FERPlus in percent.
        rafdb: Accuracy on RAF-DB in percent.
        params_m: Parameters in millions.
        gmacs: Multiply-accumulates of one image in 1e9, as its paper counts them.
    """

    model: str = setting(some)
    source: str = setting(some)
    ferplus: str = setting(printed_number, "")
    rafdb: str = setting(printed_number, "")
    params_m: str = setting(printed_number, "")
    gmacs: str = setting(printed_number, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """All of ``claims.toml``.

    Attributes:
        protocol: The paper's conditions.
        scope: What it announces and defines.
        tables: Its tables by id, and ``text`` for figures of the running text.
        figures: Its figures by id, in the file's order.
        counts: Known counts by id.
        class_counts: FERPlus's training images by class, by label rule; they stand in for the
            class shares of its test part.
        statements: What the audit looks at.
        others: Figures of other papers.
        sources: Sources by id.
    """

    protocol: PaperProtocol
    scope: Scope
    tables: Mapping[str, ClaimTable]
    figures: Mapping[str, Claim]
    counts: Mapping[str, Count]
    class_counts: Mapping[str, Mapping[str, int]]
    statements: tuple[Statement, ...]
    others: tuple[OtherPaper, ...]
    sources: Mapping[str, Source]

    def of_table(self, table: str) -> tuple[Claim, ...]:
        """Return the figures of one table, in its order."""
        return tuple(claim for claim in self.figures.values() if claim.table == table)
