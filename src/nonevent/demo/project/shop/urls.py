"""The paths."""

from django.urls import path

from prints import views

urlpatterns = [
    path("", views.index),
    path("healthz", views.healthz),
    path("orders", views.order),
    path("invoice", views.invoice),
    path("numbers", views.numbers),
]
