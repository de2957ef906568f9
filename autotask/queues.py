"""The queues that a worker serves, as it has registered them: "a,b" only these, "-c" all but that one, "" all."""


def split(registered: str) -> tuple[list[str], list[str]]:
    """Return the queues that are served (none: all) and those that are not."""
    names = registered.split(",") if registered else []
    # No name of a queue begins with "-".
    return [name for name in names if name[0] != "-"], [name[1:] for name in names if name[0] == "-"]


def serves(registered: str, queue: str) -> bool:
    """Whether a worker takes tasks from a queue."""
    wanted, unwanted = split(registered)
    return queue not in unwanted and (not wanted or queue in wanted)


def in_words(registered: str) -> str:
    """Return the queues as text."""
    wanted, unwanted = split(registered)
    return ",".join(wanted or ["all"]) + (f" except {','.join(unwanted)}" if unwanted else "")
