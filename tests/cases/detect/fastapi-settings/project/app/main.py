from fastapi import FastAPI
from app.config import settings
app = FastAPI()
@app.get("/")
def i(): ...
