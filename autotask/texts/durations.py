"""Durations as people read them: 12 ms, 12 s, 15 min, 2 d 4 h."""


def in_words(seconds: float) -> str:
    """Return a duration in its two largest units: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 d 4 h``."""
    seconds = max(0.0, seconds)
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (large, size), (small, part) in _LARGE:
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def precisely(seconds: float) -> str:
    """Return a duration that may be very short: ``0.3 ms``, ``12 ms``, ``1.2 s``, ``3 min 20 s``."""
    if seconds >= 0.9995:
        return in_words(seconds)
    milliseconds = max(0.0, seconds) * 1000
    return f"{milliseconds:.1f} ms" if round(milliseconds, 1) < 10 else f"{milliseconds:.0f} ms"


_LARGE = ((("d", 86400), ("h", 3600)), (("h", 3600), ("min", 60)), (("min", 60), ("s", 1)))
