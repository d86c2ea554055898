import fastapi
from app.api import router
def create_application() -> fastapi.FastAPI:
    application = fastapi.FastAPI()
    application.include_router(router, prefix="/v1")
    return application
