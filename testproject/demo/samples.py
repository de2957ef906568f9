"""The tasks on the demo's page, with their default arguments."""

from typing import Any

SAMPLES: dict[str, tuple[Any, ...]] = {
    "send_welcome_mail": ("Anna", "anna@autotask.example"),
    "report_sales": (3,),
    "draw_sales": (),
    "mail_sales": (),
    "fetch_prices": ("Tea & Co",),
    "charge_card": (4711,),
    "remind": ("water the plants",),
    "take_note": ("page", "a button was pressed"),
    "work_for": (10, "page"),
    "pack_parcel": (4711,),
    "count_stock": ("teapots",),
}

#: The model whose rows are tasks, and the field that the page fills.
ROWS = {"inspect_machine": ("machine", "lathe")}
