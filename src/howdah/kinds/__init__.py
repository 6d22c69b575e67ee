"""The ways to write a task: one file each. Each becomes a Kind with `attempt(task, ctx) -> Transition`."""
