"""The addresses, with the names that they have in django-simpletask2."""

from django.urls import path, re_path

from autotask.api.simpletask2 import views

urlpatterns = [
    path("get_a_task", views.get_a_task, name="django_simpletask2.get_a_task"),
    path("do_task", views.do_task, name="django_simpletask2.do_task"),
    path("do_auto_reset", views.do_auto_reset, name="django_simpletask2.do_auto_reset"),
    re_path("", views.unknown),
]
