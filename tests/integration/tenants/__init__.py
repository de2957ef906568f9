"""A site whose tenants have schemas of their own, by django-tenants."""
