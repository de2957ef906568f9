"""Models as they come in projects. Their tables are made by the tests that use them."""

import uuid

from django.db import models


class Visible(models.Manager):
    """Finds what is not hidden."""

    def get_queryset(self):
        return super().get_queryset().filter(is_hidden=False)


class Author(models.Model):
    name = models.TextField()
    is_hidden = models.BooleanField(default=False)

    objects = Visible()

    class Meta:
        app_label = "shelf"
        ordering = ["name"]


class Ghostwriter(Author):
    """A proxy."""

    class Meta:
        app_label = "shelf"
        proxy = True


class Novelist(Author):
    """With a table of its own, beside that of its parent."""

    genre = models.TextField()

    class Meta:
        app_label = "shelf"


class Box(models.Model):
    """With a key that it has before it is saved."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    class Meta:
        app_label = "shelf"


class Word(models.Model):
    text = models.CharField(max_length=20, primary_key=True)

    class Meta:
        app_label = "shelf"


class Portrait(models.Model):
    """With the key of another one."""

    author = models.OneToOneField(Author, on_delete=models.CASCADE, primary_key=True)

    class Meta:
        app_label = "shelf"


class Place(models.Model):
    """With a key of two columns."""

    pk = models.CompositePrimaryKey("board", "number")
    board = models.TextField()
    number = models.IntegerField()
    note = models.TextField(default="")

    class Meta:
        app_label = "shelf"


ALL = (Author, Novelist, Box, Word, Portrait, Place)
