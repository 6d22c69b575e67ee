"""Nodes → a Document: every rule of a pipeline file, and all that breaks one, with its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from howdah.errors import HowdahError, InvalidOption, did_you_mean, shown
from howdah.kinds.registry import Defaults
from howdah.pipeline import attempts, config, nodes
from howdah.pipeline.attempts import Attempts
from howdah.pipeline.environment import Environment
from howdah.pipeline.errors import Place
from howdah.pipeline.model import Document, StageSpec
from howdah.pipeline.modules import Modules
from howdah.pipeline.nodes import Node, dotted, in_words
from howdah.pipeline.problems import Problems, TooMany
from howdah.pipeline.stage import InvalidField, Polling, Scheduled, Setting, Stage

MAX_STAGES = 500
TOP = ("name", "description", "defaults", "pipeline")
STAGE = ("module", "inputs", "config", *attempts.ONE_STAGE, "concurrency")

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_NAME_RULE = "1 to 100 letters, digits, _ . or -, and not begin with . or -"


@dataclass(slots=True)
class _Draft:
    """A stage while its file is read; `places` are those of its inputs, right or wrong."""

    name: str
    place: Place
    node: Node
    module: str
    defaults: Defaults
    concurrency: int | None = None
    kind: type[Stage] | None = None
    inputs: list[str] = field(default_factory=list[str])
    places: dict[str, Place] = field(default_factory=dict[str, Place])


class Checking:
    """Checks one file. What one problem makes meaningless is not asked."""

    def __init__(self, path: Path, modules: Modules, environment: Environment) -> None:
        self.problems = Problems(path, environment)
        self._path = path
        self._modules = modules
        self._environment = environment

    def document(self, root: Node) -> Document | None:
        """The document, or None if there are problems."""
        try:
            return self._document(root)
        except TooMany:
            return None

    def _document(self, root: Node) -> Document | None:
        if not isinstance(root.value, dict):
            said = f"a pipeline file is a mapping, not {in_words(root)}"
            self.problems.add(said, root.place, hint="Write pipeline: and the stages under it")
            return None
        self.problems.unknown(root, TOP)
        name = self._name(root)
        description = self._description(root)
        defaults = self._defaults(root)
        drafts = self._drafts(root, defaults)
        for draft in drafts.values():
            self._check_inputs(draft, drafts)
        self._check_cycles(drafts)
        consumers: dict[str, list[str]] = {draft.name: [] for draft in drafts.values()}
        for draft in drafts.values():
            for each in draft.inputs:
                consumers[each].append(draft.name)
        order = {each: n for n, each in enumerate(drafts)}
        specs = [
            self._spec(draft, name, sorted(draft.inputs, key=order.__getitem__), consumers[draft.name])
            for draft in drafts.values()
        ]
        if self.problems.found:
            return None
        return Document(
            name, self._path, description, defaults, {spec.name: spec for spec in specs if spec is not None}
        )

    # ── the top of the file ──

    def _name(self, root: Node) -> str:
        given, stem = root.get("name"), self._path.stem
        if given is None:
            if not NAME.fullmatch(stem):
                said = f"the name of the file cannot be that of the pipeline: {shown(stem)}"
                self.problems.add(said, root.place, field="name", hint=f"Write name: …, which must be {_NAME_RULE}")
            return stem
        if isinstance(given.value, str) and NAME.fullmatch(given.value):
            return given.value
        self.problems.at(root, ("name",), f"it must be {_NAME_RULE}, not {in_words(given)}")
        return stem

    def _description(self, root: Node) -> str | None:
        given = root.get("description") or Node(root.place)
        if given.value is None or isinstance(given.value, str):
            return given.value
        self.problems.at(root, ("description",), f"it must be text, not {in_words(given)}")
        return None

    def _defaults(self, root: Node) -> Defaults:
        given = root.get("defaults")
        if given is None:
            return Defaults()
        if given.mapping is None:
            self.problems.at(root, ("defaults",), f"it must be a mapping, not {in_words(given)}")
            return Defaults()
        self.problems.unknown(given, attempts.ALL_STAGES, prefix=("defaults",))
        reader = Attempts(given, self.problems, self._environment, prefix=("defaults",))
        return reader.defaults(Defaults(), attempts.ALL_STAGES)

    def _drafts(self, root: Node, base: Defaults) -> dict[str, _Draft]:
        given = root.get("pipeline")
        if given is None:
            hint = "Write pipeline: and the stages under it"
            self.problems.add("the field 'pipeline' is missing", root.place, hint=hint)
            return {}
        if not given.mapping:
            what = (
                "there are no stages" if given.mapping is not None else f"it must be a mapping, not {in_words(given)}"
            )
            self.problems.at(root, ("pipeline",), what, hint="Write a stage under it, such as log: {inputs: […]}")
            return {}
        if len(given.mapping) > MAX_STAGES:
            place = list(given.keys.values())[MAX_STAGES]
            self.problems.add(
                f"there are more than {MAX_STAGES} stages", place, field="pipeline", hint="Split the file"
            )
            return {}
        return {name: self._draft(name, each, given.keys[name], base) for name, each in given.mapping.items()}

    # ── one stage ──

    def _draft(self, name: str, node: Node, place: Place, base: Defaults) -> _Draft:
        draft = _Draft(name, place, node, name, base)
        if not NAME.fullmatch(name):
            self.problems.add(f"the name of a stage must be {_NAME_RULE}", place, name)
        if node.mapping is None:
            said, hint = f"a stage is a mapping, not {in_words(node)}", "Write {module: …, inputs: […]}"
            self.problems.add(said, place, name, hint=hint)
            return draft
        self.problems.unknown(node, STAGE, name)
        reader = Attempts(node, self.problems, self._environment, name)
        draft.defaults = reader.defaults(base, attempts.ONE_STAGE)
        draft.concurrency = reader.concurrency()
        self._find_module(draft)
        self._read_inputs(draft)
        return draft

    def _find_module(self, draft: _Draft) -> None:
        given = draft.node.get("module")
        if given is not None and not isinstance(given.value, str):
            said = f"it must be the name of a module, not {in_words(given)}"
            self.problems.at(draft.node, ("module",), said, draft.name)
            return
        if given is not None:
            draft.module = str(given.value)
        try:
            draft.kind = self._modules.get(draft.module)
        except HowdahError as error:
            said, hint = error.message, error.hint
            if given is None and isinstance(error, InvalidOption):
                said = f"it has no module, and there is none of its own name, {shown(draft.name)}"
                hint = f"Write module: …. {hint}"
            self.problems.add(said, draft.node.keys.get("module", draft.place), draft.name, "module", hint=hint)

    def _read_inputs(self, draft: _Draft) -> None:
        given = draft.node.get("inputs")
        if given is None:
            return
        items: list[tuple[nodes.Path, Node]] = [(("inputs",), given)]
        if isinstance(given.value, list):
            items = [(("inputs", n), item) for n, item in enumerate(given.value)]
        for path, item in items:
            if not isinstance(item.value, str):
                said, hint = f"it must be the name of a stage, not {in_words(item)}", "Write inputs: [stage]"
                self.problems.at(draft.node, path, said, draft.name, hint)
            elif item.value in draft.places:
                self.problems.at(draft.node, path, f"{shown(item.value)} is named twice", draft.name)
            else:
                draft.inputs.append(item.value)
                draft.places[item.value] = draft.node.place_of(path)

    # ── all stages together ──

    def _check_inputs(self, draft: _Draft, drafts: Mapping[str, _Draft]) -> None:
        for name, place in draft.places.items():
            if name == draft.name:
                said, hint = "a stage cannot be its own input", None
            elif name not in drafts:
                said, hint = (
                    f"there is no stage {shown(name)}",
                    did_you_mean(name, [each for each in drafts if each != draft.name]),
                )
            else:
                continue
            self.problems.add(said, place, draft.name, "inputs", hint=hint)
            draft.inputs.remove(name)
        if draft.kind is None:
            return
        place = draft.node.keys.get("inputs", draft.place)
        if draft.kind.inputs == "none" and draft.places:
            said = f"the module {draft.module} takes no inputs: its events come from outside"
            self.problems.add(said, place, draft.name, "inputs", hint="Delete inputs")
        alone = draft.kind.inputs != "required" and issubclass(draft.kind, (Scheduled, Polling))
        if not alone and not draft.places and not self.problems.blame(draft.name, "inputs"):
            said = f"the module {draft.module} needs inputs: the stages whose events it takes"
            self.problems.add(said, place, draft.name, "inputs", hint="Write inputs: [stage]")

    def _check_cycles(self, drafts: Mapping[str, _Draft]) -> None:
        before = {draft.name: list(draft.inputs) for draft in drafts.values()}
        while True:
            try:
                TopologicalSorter(before).prepare()
                return
            except CycleError as error:
                cycle: list[str] = error.args[1][:-1]
            # Told from the stage that stands first in the file. This ring is cut, and the next one looked for.
            first = min(range(len(cycle)), key=lambda n: drafts[cycle[n]].place)
            ring = cycle[first:] + cycle[:first]
            name, last = ring[0], ring[-1]
            said = f"the stages wait for each other: {' → '.join([*ring, name])}"
            self.problems.add(said, drafts[name].places[last], name, "inputs")
            before[name].remove(last)

    # ── configs ──

    def _spec(self, draft: _Draft, pipeline: str, inputs: list[str], consumers: list[str]) -> StageSpec | None:
        if draft.kind is None or draft.node.mapping is None:
            return None
        given = draft.node.get("config") or Node(draft.place)
        if given.mapping is None:
            self.problems.at(draft.node, ("config",), f"it must be a mapping, not {in_words(given)}", draft.name)
            return None
        stage = self._stage(draft, draft.kind, Node(given.place, given.mapping, given.keys), pipeline)
        if stage is None:
            return None
        return StageSpec(
            draft.name,
            draft.module,
            inputs=tuple(inputs),
            consumers=tuple(consumers),
            stage=stage,
            defaults=draft.defaults,
            concurrency=draft.concurrency,
            place=draft.place,
        )

    def _stage(self, draft: _Draft, kind: type[Stage], node: Node, pipeline: str) -> Stage | None:
        """The stage, made and asked to check itself."""

        def report(path: nodes.Path, said: str, hint: str | None) -> None:
            place = draft.node.place_of(("config", *path)) if "config" in draft.node.keys else draft.place
            self.problems.add(said, place, draft.name, dotted(("config", *path)), hint=hint)

        try:
            made = config.configured(node, kind.Config, self._environment, report)
            if made is None:
                return None
            stage = kind(made, Setting(pipeline, draft.name, self._path.parent, bool(draft.places)))
            stage.check()
            return stage
        except TooMany:
            raise
        except InvalidField as error:
            report(error.field, error.message, error.hint)
        except HowdahError as error:
            self.problems.add(error.message, draft.place, draft.name, hint=error.hint)
        except Exception as error:  # a mistake in a module must not hide what else is wrong with the file
            said = f"the module {draft.module} failed: {type(error).__name__}: {error}"
            self.problems.add(said, draft.place, draft.name)
        return None
