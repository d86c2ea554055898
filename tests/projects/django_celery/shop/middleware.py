"""Every answer says which release gave it."""

import os


def say_release(get_response):
    def middleware(request):
        response = get_response(request)
        response["X-Nonevent-Release"] = os.environ.get("NONEVENT_RELEASE", "")
        return response

    return middleware
