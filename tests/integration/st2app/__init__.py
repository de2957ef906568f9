"""An app of remote model tasks, and the requests that clients of django-simpletask2 send about them."""
