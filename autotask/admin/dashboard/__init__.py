"""The pages of the dashboard that are not lists of rows: overview, task types and errors."""

from autotask.admin.dashboard.pages import DashboardAdmin

__all__ = ["DashboardAdmin"]
