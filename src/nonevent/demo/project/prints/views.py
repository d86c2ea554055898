"""The views."""

import hashlib
import time

from django.db.models import Count, Sum
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from prints.models import Order, Report
from prints.tasks import print_order
from shop.middleware import RELEASE

PROMISE = "Your pictures on paper, in two days."


def index(request):
    latest = Order.objects.order_by("-pk")[:5]
    context = {"promise": PROMISE, "release": RELEASE, "orders": latest}
    return render(request, "prints/index.html", context)


def healthz(request):
    Order.objects.exists()
    return HttpResponse("well\n", content_type="text/plain")


# A public API for cameras and programs: there is no session that a form could abuse.
@csrf_exempt
@require_POST
def order(request):
    """Take a picture in, queue its printing, and answer with a receipt."""
    digest, length = hashlib.sha256(), 0
    picture = request.FILES.get("picture", request)
    while chunk := picture.read(65536):
        digest.update(chunk)
        length += len(chunk)
    new = Order.objects.create(sha256=digest.hexdigest(), length=length, taken_by=RELEASE)
    print_order(new.pk)
    return JsonResponse({"order": new.pk, "sha256": new.sha256, "length": length}, status=201)


def invoice(request):
    """A page that takes its time, as pages do that ask another system."""
    time.sleep(min(float(request.GET.get("seconds", "1.5")), 10))
    return HttpResponse(f"{Order.objects.count()} orders\n", content_type="text/plain")


def numbers(request):
    """What has been ordered, printed and reported so far."""
    by_release = Order.objects.exclude(printed_by="").values_list("printed_by")
    reports = Report.objects.values_list("release")
    return JsonResponse(
        {
            "orders": Order.objects.count(),
            "printed": Order.objects.aggregate(all=Sum("printed"))["all"] or 0,
            "waiting": Order.objects.filter(printed=0).count(),
            "printed_by": dict(by_release.annotate(Count("pk")).order_by()),
            "reported_by": dict(reports.annotate(Count("pk")).order_by()),
        }
    )
