"""Tell others of the end of a task: by mail, and by calling webhooks."""
