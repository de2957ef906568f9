"""Text for users and logs: on one line, shortened, in columns, with secrets masked; safe whatever others put into it."""
