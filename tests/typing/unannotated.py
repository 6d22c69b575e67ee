# pyright: basic, reportUnnecessaryTypeIgnoreComment=true
"""Handlers without annotations, or with some: nothing of them is refused by mistake. Checked by pyright, never run."""

from howdah import App, Context

app = App()


@app.task()
async def bare(user_id, name="x"):
    return name


@app.task()
def half(user_id, name: str) -> str: ...


@app.task()
async def with_context(user_id, ctx: Context): ...


@app.task()
async def everything(**fields): ...


async def calls() -> None:
    await bare.enqueue(1)
    await bare.enqueue(1, "y")
    await bare.enqueue(user_id=1, name="y")
    await bare(1)
    await half.enqueue(1, name="y")
    half(1, "y")
    await with_context.enqueue(1)
    await with_context.enqueue(user_id=1)
    await everything.enqueue(a=1, b=2)
