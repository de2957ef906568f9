"""An app as projects that come from django-simpletask2 have it; its rows are pulled by the unmodified client."""
