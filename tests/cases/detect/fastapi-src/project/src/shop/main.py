from fastapi import FastAPI
from shop.config import settings
app = FastAPI()
@app.get("/")
def index(): ...
