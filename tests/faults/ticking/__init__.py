"""An app with a schedule, for workers that need one."""
