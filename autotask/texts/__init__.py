"""Texts for people: on one line, cut off, with secrets masked, in columns; safe whatever others have put into them."""
