"""Templates over events: types kept, what is missing named, and a sandbox that neither leaks nor swells."""

from __future__ import annotations

from typing import Any

import pytest

from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages import templating

EVENT: dict[str, Any] = {"n": 3, "name": "<b>Zoë</b>", "items": [1, 2], "order": {"items": [{"q": 2}]}, "a-b": True}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ n }}", 3),
        ("{{ n }}\n", 3),
        ("n = {{ n }}", "n = 3"),
        ("{{ items }}", [1, 2]),
        ("{{ order.items[0].q / 4 }}", 0.5),
        ("{{ event['a-b'] }}", True),
        ("{{ event.items }}", [1, 2]),
        ("{{ items | map('string') }}", ["1", "2"]),
        ("{{ items | map('string') | join('+') }}", "1+2"),
        ("{{ event.get('nothing') }}", None),
        ("{{ nothing | default('-') }}", "-"),
        ("{{ n ~ '!' ~ n }}", "3!3"),
        ("{{ '%.2f' | format(n) }}", "3.00"),
        ("{{ '{:05d}'.format(n) }}", "00003"),
        ("{{ name }}", "<b>Zoë</b>"),
        ("{{ n }}{{ n }}", "33"),
        ("{{ '}}' }}", "}}"),
        ("{% for i in items %}{{ i }},{% endfor %}", "1,2,"),
        ("no template", "no template"),
    ],
)
def test_what_a_template_makes(source: str, value: Any) -> None:
    made = templating.structure({"list": [source, 5]}, "set").render(EVENT)

    assert made == {"list": [value, 5]}
    assert type(made["list"][0]) is type(value)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("{{ missing }}", "'missing' is undefined"),
        ("{{ order.missing.x }}", "'missing'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ namespace }}", "no JSON value"),
    ],
)
def test_what_fails_names_the_field_and_the_variable(source: str, fault: str) -> None:
    with pytest.raises(Fail) as failed:
        templating.structure({"total": [source]}, "set").render(EVENT)

    assert failed.value.reason.startswith("set.total[0]: ")
    assert fault in failed.value.reason


@pytest.mark.parametrize(
    "source",
    [
        "{{ ().__class__.__mro__ }}",
        "{{ ''['__class__'] }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ (items | map(attribute='__class__') | first).__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(n) }}",
        "{{ self._TemplateReference__context }}",
        "{{ event.update({'n': 4}) }}",
        "{{ items.append(3) }}",
    ],
)
def test_nothing_leaves_the_sandbox(source: str) -> None:
    with pytest.raises(Fail, match=r"unsafe|unsafe\.|undefined"):
        templating.text(source, "message").render(EVENT)

    assert EVENT["n"] == 3
    assert EVENT["items"] == [1, 2]


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ [['a' * 1000] * 900] * 1000 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ range(10 ** 9) | list }}",
        "{{ 'a' | center(10 ** 9) }}",
        "{{ 'a'.ljust(10 ** 9) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ '{:{w}}'.format(1, w=999999999) }}",
        "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
        "{{ (['a' * 1000] * 900) | join('b' * 100000) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x %}{{ ns.x * 2 }}{% endset %}{% endfor %}",
        "{% for i in range(99999) %}twenty characters...{% endfor %}",
    ],
)
def test_nothing_swells(source: str) -> None:
    with pytest.raises(Fail):
        templating.structure(source, "set").render(EVENT)


@pytest.mark.parametrize("source", ["{{ n", "{{ n | nosuch }}", "{% if %}", "{% include 'x' %}{% endif %}"])
def test_what_is_no_template_is_said_before_anything_runs(source: str) -> None:
    with pytest.raises(InvalidField) as refused:
        templating.structure({"list": [source]}, "set")

    assert refused.value.field == ("set", "list", 0)


def test_a_page_escapes_what_comes_from_outside() -> None:
    page = templating.text("<p>{{ name }} {{ name ~ '<' }}</p>", "html", "html")

    assert page.render(EVENT) == "<p>&lt;b&gt;Zoë&lt;/b&gt; &lt;b&gt;Zoë&lt;/b&gt;&lt;</p>"


@pytest.mark.parametrize(
    ("source", "made"),
    [
        ("https://h/u/{{ name }}?q={{ name }}", "https://h/u/a%2F..%2F%3F%26%20%C3%AB?q=a%2F..%2F%3F%26%20%C3%AB"),
        ("https://h/u/{{ name | urlencode }}", "https://h/u/a%2F..%2F%3F%26%20%C3%AB"),
        ("{{ base | safe }}/u/{{ n }}", "https://h/u/3"),
        ("https://h/{{ 'a' ~ name }}", "https://h/aa%2F..%2F%3F%26%20%C3%AB"),
    ],
)
def test_an_address_keeps_what_comes_from_outside_in_its_place(source: str, made: str) -> None:
    event = {"name": "a/../?& ë", "base": "https://h", "n": 3}

    assert templating.text(source, "url", "url").render(event) == made


@pytest.mark.parametrize("name", [".", ".."])
def test_no_piece_of_an_address_leads_up(name: str) -> None:
    with pytest.raises(Fail, match="would lead to another path"):
        templating.text("https://h/u/{{ name }}/x", "url", "url").render({"name": name})
