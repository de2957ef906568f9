"""Tenants, and what each of them has."""

from django.db import models
from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    auto_create_schema = False


class Domain(DomainMixin):
    pass


class Item(models.Model):
    name = models.TextField()
