"""An app with a schedule, for the workers that are to have one."""
