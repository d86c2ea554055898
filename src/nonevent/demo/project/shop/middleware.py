"""Every answer says which release gave it."""

import os

RELEASE = os.environ.get("NONEVENT_RELEASE", "")


def say_release(get_response):
    def middleware(request):
        response = get_response(request)
        response["X-Nonevent-Release"] = RELEASE
        return response

    return middleware
