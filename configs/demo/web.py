"""A web application that hands work to the mules and answers at once."""

from fastapi import FastAPI

from pymule import farm_msg, mule_msg

app = FastAPI()


@app.post("/count", status_code=202)
async def count(text: str) -> dict[str, int]:
    """Let the first available mule count the words of *text*."""
    return {"message": await mule_msg(text)}


@app.post("/stretch", status_code=202)
async def stretch(password: str) -> dict[str, int]:
    """Let the farm "slow" do what would take too long here."""
    return {"message": await farm_msg("slow", password)}
