"""The data of the demo's reports: the orders in data/sales.csv, their sums, a table and a chart."""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from xml.sax.saxutils import escape

DATA = Path(__file__).parent / "data" / "sales.csv"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Order:
    """One line of the data set."""

    day: date
    region: str
    product: str
    quantity: int
    unit_price: Decimal

    @property
    def total(self) -> Decimal:
        """The revenue of the order."""
        return self.quantity * self.unit_price


def orders() -> list[Order]:
    """Return all orders of the data set."""
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [
            Order(
                day=date.fromisoformat(row["day"]),
                region=row["region"],
                product=row["product"],
                quantity=int(row["quantity"]),
                unit_price=Decimal(row["unit_price"]),
            )
            for row in rows
        ]


def orders_of(month: int) -> list[Order]:
    """Return the orders of one month, 1 to 12."""
    return [order for order in orders() if order.day.month == month]


def revenue(some: Iterable[Order]) -> Decimal:
    """Return the revenue of these orders."""
    return sum((order.total for order in some), Decimal("0.00"))


def table(month: int, some: Iterable[Order]) -> str:
    """Return the revenue of a month by product and region, as text."""
    some = list(some)
    regions = sorted({order.region for order in some})
    cells: dict[tuple[str, str], list[Order]] = defaultdict(list)
    for order in some:
        cells[order.product, order.region].append(order)
    lines = [f"Sales in {MONTHS[month - 1]} (made-up figures)", "", _line("", [*regions, "total"])]
    for product in sorted({order.product for order in some}):
        sums = [revenue(cells[product, region]) for region in regions]
        lines.append(_line(product, [*sums, sum(sums)]))
    sums = [revenue(order for order in some if order.region == region) for region in regions]
    lines.append(_line("total", [*sums, sum(sums)]))
    return "\n".join(lines) + "\n"


def _line(name: str, cells: Iterable[object]) -> str:
    return f"{name:<16}" + "".join(f"{cell!s:>12}" for cell in cells)


def chart() -> str:
    """Return a bar chart of the revenue of each month, as SVG."""
    sums = [revenue(orders_of(month)) for month in range(1, 13)]
    highest = max(sums)
    bars = []
    for place, (month, amount) in enumerate(zip(MONTHS, sums, strict=True)):
        height = round(200 * amount / highest)
        left = 20 + 50 * place
        bars.append(
            f'<rect x="{left}" y="{240 - height}" width="40" height="{height}" fill="#44b78b"/>'
            f'<text x="{left + 20}" y="256">{month}</text>'
            f'<text x="{left + 20}" y="{234 - height}">{amount:.0f}</text>'
        )
    title = escape("Revenue by month (made-up figures)")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="640" height="270" font-family="sans-serif" font-size="11" '
        f'text-anchor="middle"><title>{title}</title><text x="320" y="16" font-size="14">{title}</text>'
        + "".join(bars)
        + "</svg>\n"
    )
