"""The example of the README: python examples/welcome.py"""

import asyncio

from howdah import App, Context, Fail, Retry

app = App()  # or App("postgresql://…"), or $HOWDAH_DSN; without either, an embedded PostgreSQL in .howdah/


@app.task(queue="mail", retry=Retry(5, delay="2s", max="10m"), timeout="30s")
async def welcome(ctx: Context, user_id: int) -> str:
    if user_id < 0:
        raise Fail("no such user")  # no retry can help: parked, with its payload
    # … call the mail service with ctx.idempotency_key: the same for every retry of this task
    return f"sent to {user_id} at attempt {ctx.attempt}"


async def main() -> None:
    async with app, app.worker():
        task = await welcome.enqueue(
            42
        )  # checked against the signature; part of your transaction with using(connection=…)
        print(await task.result(timeout="30s"))
        later = await welcome.using(delay="1h", key="welcome:43").enqueue(43)
        print((await later.why())[0].reason)


if __name__ == "__main__":
    asyncio.run(main())
