"""Requests to other sites, guarded: to allowed hosts and checked addresses only, within a time and a size.

It needs the extra ``fetch`` (urllib3), which is imported by the first request.
"""

from autotask.fetching.client import Fetched, fetch

__all__ = ["Fetched", "fetch"]
