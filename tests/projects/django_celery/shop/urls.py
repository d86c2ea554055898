"""The paths."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.index),
    path("healthz", views.healthz),
    path("slow", views.slow),
    path("echo", views.echo),
    path("release", views.release),
    path("css", views.css),
    path("orders", views.orders),
    path("work", views.work),
    path("done", views.done),
]
