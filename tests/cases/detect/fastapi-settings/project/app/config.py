import os
from pydantic_settings import BaseSettings, SettingsConfigDict

TOKEN = os.environ["TOKEN"]

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="shop_")
    database_url: str
    debug: bool = False
    sentry: str | None

def late():
    return os.environ["LATE"]

settings = Settings()
