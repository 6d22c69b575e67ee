"""Which commands there are. Nothing here imports what they need."""

from __future__ import annotations

from typing import NamedTuple

from cyclopts import App, Group


class Command(NamedTuple):
    """A command, the function behind it, its help in one line, and an example."""

    name: str
    function: str
    help: str
    example: str


RUN = Group("Run", sort_key=1)
LOOK = Group("Look", sort_key=2)
FIX = Group("Fix", sort_key=3)
DATABASE = Group("Database", sort_key=4)
OTHER = Group("Other", sort_key=5)

COMMANDS: dict[Group, list[Command]] = {
    RUN: [
        Command("demo", "tour:demo", "Watch the main job at work, on real files.", "howdah demo ~/Documents"),
        Command("worker", "run:worker", "Run tasks until told to stop.", "howdah worker tasks:app -q mail=10 -q default"),
        Command(
            "pipeline run", "run:pipeline_run", "Run pipelines until told to stop.", "howdah pipeline run tasks.yaml --processes 2"
        ),
        Command("pipeline check", "pipeline:check", "Say what is wrong in files of pipelines.", "howdah pipeline check *.yaml"),
        Command(
            "pipeline schema", "pipeline:schema", "Print the JSON Schema of pipelines, for editors.",
            "howdah pipeline schema > pipeline.schema.json",
        ),
        Command(
            "enqueue", "put:enqueue", "Put a task in its queue.", """howdah enqueue welcome '{"user_id": 42}' --wait"""
        ),
        Command("send", "put:send", "Put a message into the inbox of an actor.", """howdah send 42 '{"n": 1}'"""),
        Command("bench", "tour:bench", "Measure howdah on your own database.", "howdah bench --tasks 20000"),
    ],
    LOOK: [
        Command("ls", "look:ls", "List tasks, newest first.", "howdah ls -s failed --kind welcome"),
        Command("show", "look:show", "Show all there is to know of one task.", "howdah show 42"),
        Command("why", "look:why", "Say why a task is not running, and what to do.", "howdah why 42"),
        Command("watch", "watch:watch", "Follow tasks until they end.", "howdah watch 42"),
        Command("graph", "graph:graph", "Draw a state machine or pipeline.", "howdah graph greeter -o svg > greeter.svg"),
        Command("queues", "look:queues", "List queues with their counts.", "howdah queues"),
        Command("limits", "limits:limits", "List limits and groups, with what runs and waits in them.", "howdah limits"),
        Command("schedules", "schedules:schedules", "List schedules, or show the next ticks of one.", "howdah schedules nightly"),
        Command("health", "health:health", "Say how all is. Exits with 0 green, 1 yellow, 2 red.", "howdah health --queue mail"),
        Command("workers", "look:workers", "List the workers of the last day.", "howdah workers -o json"),
    ],
    FIX: [
        Command(
            "retry", "fix:retry", "Go on with parked tasks, or run waiting ones now.", "howdah retry --kind welcome"
        ),
        Command("cancel", "fix:cancel", "Cancel tasks.", "howdah cancel 42 --reason 'sent by hand'"),
        Command(
            "edit", "fix:edit", "Change tasks, or move them to another queue.",
            """howdah edit 42 --payload '{"n": 1}' --retry; howdah edit --from mail --queue bulk""",
        ),
        Command(
            "export", "carry:export_tasks", "Print live tasks as lines of JSON.", "howdah export --kind welcome > tasks.jsonl"
        ),
        Command("import", "carry:import_tasks", "Write exported tasks.", "howdah import tasks.jsonl --dry-run"),
        Command("pause", "steer:pause", "Start no more tasks of a queue.", "howdah pause mail --reason 'SES is down'"),
        Command("drain", "steer:drain", "Finish what is in a queue, take no more.", "howdah drain mail --wait --timeout 1h"),
        Command("resume", "steer:resume", "Undo pause and drain.", "howdah resume mail"),
        Command("disable", "steer:disable", "Start no tasks of a kind.", "howdah disable welcome --reason 'wrong template'"),
        Command("enable", "steer:enable", "Undo disable.", "howdah enable welcome"),
        Command("purge", "steer:purge", "Forget a kind and all its tasks.", "howdah purge welcome --dry-run"),
        Command("set-queue", "limits:set_queue", "Say how a queue is worked.", "howdah set-queue mail --running 20 --fair"),
        Command(
            "set-limit", "limits:set_limit", "Limit a group in the whole fleet.", "howdah set-limit SES --running 10 --rate 100/min"
        ),
        Command("unset-limit", "limits:unset_limit", "Take a limit away.", "howdah unset-limit SES"),
        Command(
            "close-group", "limits:close_group", "Start no more tasks of a group.", "howdah close-group SES --for 10m --reason 429"
        ),
        Command("open-group", "limits:open_group", "Undo close-group.", "howdah open-group SES"),
        Command(
            "schedule", "schedules:schedule", "Have a task enqueued again and again.",
            "howdah schedule nightly report --cron '0 3 * * *' --timezone Europe/Riga",
        ),
        Command("unschedule", "schedules:unschedule", "Forget a schedule.", "howdah unschedule nightly"),
        Command(
            "pause-schedule", "schedules:pause_schedule", "Let a schedule fire nothing more.",
            "howdah pause-schedule nightly --reason 'moving house'",
        ),
        Command("resume-schedule", "schedules:resume_schedule", "Undo pause-schedule.", "howdah resume-schedule nightly"),
        Command("trigger", "schedules:trigger", "Fire a schedule once now.", "howdah trigger nightly"),
        Command("stop", "steer:stop", "Ask workers to finish what they run and exit.", "howdah stop"),
    ],
    DATABASE: [
        Command("migrate", "database:migrate", "Bring the tables to this version.", "howdah migrate --sql > howdah.sql"),
        Command("doctor", "doctor:doctor", "Look for what hurts, with the fix for each.", "howdah doctor -o json"),
        Command("psql", "database:psql", "Open psql in the database.", "howdah psql -c 'select * from tasks'"),
    ],
    OTHER: [
        Command("config", "config:config", "Show all settings and where each came from.", "howdah config -o json"),
        Command(
            "completion", "completion:completion", "Print the completion of a shell.", "howdah completion bash >> ~/.bashrc"
        ),
    ],
}  # fmt: skip

# Commands of two words.
FAMILIES = {"pipeline": "Check and run pipelines, which are YAML files."}

_EPILOGUE = "\n".join(
    [
        "The database: --dsn, or $HOWDAH_DSN, or else an embedded PostgreSQL that keeps",
        "its data in $HOWDAH_HOME, or .howdah in this folder; see howdah config.",
        "Exit codes: 0 ok · 1 failed · 2 usage · 3 not found · 4 held up (why, drain)",
        "5 not confirmed (purge) · 130 Ctrl-C",
        "Those of health: 0 green · 1 yellow · 2 red, or it cannot be asked",
    ]
)


def version() -> str:
    from importlib.metadata import version as package_version

    return f"howdah {package_version('howdah')}"


def shell() -> App:
    """The whole command line."""
    app = App(
        name="howdah",
        help="Durable tasks on PostgreSQL.",
        version=version,
        help_format="plaintext",
        help_epilogue=_EPILOGUE,
        group_commands=OTHER,
        suppress_keyboard_interrupt=False,
    )
    families: dict[str, App] = {}
    position = 0
    for group, commands in COMMANDS.items():
        for command in commands:
            position += 1
            family, _, name = command.name.rpartition(" ")
            above = app
            if family:
                if family not in families:
                    families[family] = App(name=family, help=FAMILIES[family], group=group, sort_key=position)
                    app.command(families[family])
                above = families[family]
            above.command(
                f"howdah.cli.{command.function}",
                name=name,
                help=command.help,
                group=group,
                sort_key=position,
                help_epilogue=f"Example: {command.example}",
            )
    return app
