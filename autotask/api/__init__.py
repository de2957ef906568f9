"""The HTTP API: plain Django views, for ``include("autotask.api.urls")``. Nothing here is imported by sites without it."""
