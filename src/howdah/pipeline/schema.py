"""The JSON Schema of pipeline files, for editors. The one in this folder is made by `python -m howdah.pipeline.schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast, get_args

import msgspec

from howdah.backoff import Strategy
from howdah.pipeline import attempts
from howdah.pipeline.checking import MAX_STAGES, NAME
from howdah.pipeline.modules import BUILT_IN, Modules
from howdah.pipeline.stage import Stage

Schema = dict[str, Any]

SHIPPED = Path(__file__).with_name("pipeline.schema.json")

_NAME: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}
_VARIABLE = r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^${}]*)?\}$"


def json_schema(modules: Modules | None = None) -> Schema:
    """What may stand in a file. Modules that packages bring are allowed, but not described."""
    modules = modules or Modules()
    described = {name: modules.get(name) for name in BUILT_IN}
    definitions: Schema = {
        "duration": _described(
            {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "minLength": 1}]},
            'A length of time: "250ms", "2s", "1h30m", or a number of seconds.',
        ),
        "retry": _retry(),
        "variable": _described({"type": "string", "pattern": _VARIABLE}, "A variable of the environment: ${NAME}."),
        "stage": _stage(described),
    }
    for name, module in described.items():
        definitions |= _config(name, module)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline of howdah",
        "type": "object",
        "additionalProperties": False,
        "required": ["pipeline"],
        "properties": {
            "name": _described(_NAME, "The kind of its tasks. Without it: the name of the file."),
            "description": _described({"type": "string"}, "What it is for."),
            "defaults": _described(
                _object({name: _option(name) for name in attempts.ALL_STAGES}), "What counts for all stages."
            ),
            "pipeline": {
                "description": "The stages by name.",
                "type": "object",
                "propertyNames": _NAME,
                "minProperties": 1,
                "maxProperties": MAX_STAGES,
                # A stage that names no module has the module of its own name.
                "properties": {
                    name: {
                        "$ref": "#/$defs/stage",
                        "if": {"not": {"required": ["module"]}},
                        "then": _of_module(name, module),
                    }
                    for name, module in described.items()
                },
                "additionalProperties": {"$ref": "#/$defs/stage", "required": ["module"]},
            },
        },
        "$defs": definitions,
    }


def text(modules: Modules | None = None) -> str:
    """The schema as its file holds it."""
    return json.dumps(json_schema(modules), indent=2, ensure_ascii=False) + "\n"


def _stage(described: dict[str, type[Stage]]) -> Schema:
    # Editors offer the names that are listed; one of a package's own is as good.
    module: Schema = {"anyOf": [{"enum": list(described)}, {"type": "string", "minLength": 1}]}
    stage: Schema = {"type": "string", "minLength": 1}
    fields: Schema = {
        "module": _described(module, "What the stage does. Without it: the module of its own name."),
        "inputs": _described(
            {"anyOf": [stage, {"type": "array", "items": stage, "uniqueItems": True}]},
            "The stages whose events it takes.",
        ),
        "config": _described({"type": "object"}, "The fields of the module."),
        **{name: _option(name) for name in attempts.ONE_STAGE},
        "concurrency": _described(
            {"type": "integer", "minimum": 1, "maximum": attempts.MAX_CONCURRENCY},
            "At most so many of this stage run at once in the fleet.",
        ),
    }
    return _object(fields) | {
        "allOf": [
            {
                "if": {"properties": {"module": {"const": name}}, "required": ["module"]},
                "then": _of_module(name, module),
            }
            for name, module in described.items()
        ]
    }


def _of_module(name: str, module: type[Stage]) -> Schema:
    """What a stage of this module must have, beside what every stage may."""
    required = ["inputs"] if module.inputs == "required" else []
    if any(field.required for field in msgspec.structs.fields(module.Config)):
        required.append("config")
    fields: Schema = {"config": {"$ref": f"#/$defs/{name}"}}
    if module.inputs == "none":
        fields["inputs"] = {"type": "array", "maxItems": 0}
    if module.inputs == "required":
        fields["inputs"] = {"minItems": 1}
    return {"properties": fields, **({"required": required} if required else {})}


def _config(name: str, module: type[Stage]) -> Schema:
    """The config of a module, and what it refers to, under names of its own."""
    (root,), components = msgspec.json.schema_components([module.Config], ref_template=f"#/$defs/{name}.{{name}}")
    own = root["$ref"].removeprefix("#/$defs/")
    made = {f"{name}.{title}": _with_variables(schema) for title, schema in components.items()}
    config = made.pop(own)
    config.pop("title", None)
    config["description"] = (module.__doc__ or f"The config of {name}.").partition("\n")[0]
    return {name: config, **made}


def _with_variables(schema: Any) -> Any:
    """The same schema, where every number, truth and choice may be a variable instead."""
    if isinstance(schema, list):
        return [_with_variables(each) for each in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    made: Schema = {
        key: {name: _with_variables(each) for name, each in cast("Schema", value).items()}
        if key == "properties"
        else value
        if key in ("default", "enum", "required", "examples")
        else _with_variables(value)
        for key, value in cast("Schema", schema).items()
    }
    if made.get("type") in ("integer", "number", "boolean") or "enum" in made or "pattern" in made:
        outside = {key: made.pop(key) for key in ("description", "default", "title") if key in made}
        return {**outside, "anyOf": [made, {"$ref": "#/$defs/variable"}]}
    return made


def _option(name: str) -> Schema:
    match name:
        case "retry":
            return {"$ref": "#/$defs/retry"}
        case "timeout":
            return _duration("How long an attempt may take. Without it: for ever.")
        case "queue":
            return _described({"type": "string", "minLength": 1, "maxLength": 200}, "The queue its tasks wait in.")
        case "priority":
            return _described({"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}, "Higher goes first.")
        case _:
            return _duration("How long an event waits before this stage.")


def _retry() -> Schema:
    retries: Schema = {"type": "integer", "minimum": 0, "maximum": 1_000_000}
    fields: Schema = {
        "retries": _described(retries, "How many attempts follow the first one."),
        "delay": _duration("How long it waits before the first of them."),
        "factor": _described(
            {"type": "number", "minimum": 1, "maximum": 1000}, "How much longer before each next one."
        ),
        "max": _duration("The longest wait."),
        "jitter": _described({"type": "number", "minimum": 0, "maximum": 1}, "How much is added at random."),
        "strategy": _described(
            {"enum": list(get_args(Strategy))},
            "How the wait grows: standard (times factor), fixed, immediate (at once, then as standard), poly (times n^factor).",
        ),
    }
    return _described({"anyOf": [retries, _object(fields)]}, "How often a failed attempt is tried again.")


def _duration(description: str) -> Schema:
    return {"description": description, "$ref": "#/$defs/duration"}


def _object(fields: Schema) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": fields}


def _described(schema: Schema, description: str) -> Schema:
    return {"description": description, **schema}


if __name__ == "__main__":
    print(text(), end="")
