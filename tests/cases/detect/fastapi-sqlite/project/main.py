from fastapi import FastAPI
URL = "sqlite:///./shop.db"
TEST = "sqlite:///:memory:"
ABSOLUTE = "sqlite+aiosqlite:////srv/x.db"
app = FastAPI()
@app.get("/")
def i(): ...
