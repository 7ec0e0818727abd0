"""The {…} grammar: what is a placeholder, what is an escape, and that everything else stays as it is."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from brain_core.errors import PlaceholderError
from brain_core.placeholders import (
    Escape,
    Placeholder,
    Previous,
    Scope,
    as_text,
    find,
    near_misses,
    parse,
    resolve,
    resolve_text,
    scan,
)

SCOPE = Scope(
    steps={"a": "A", "n": 3, "d": {"k": [1, {"z": None}], "0": "zero"}, "t": "{a} {{a}}", "flag": True},
    inputs={"who": "ann"},
    run={"id": "r1"},
    previous=Previous("0123456789abcdef", {"a": "old"}),
    trigger={"type": "webhook", "body": {"x": 1}},
)
FIRST_TIME = Scope(steps={"a": "A"})

LITERAL = [
    "", "{", "}", "{}", "{{}}", "{a,b}", "{print $1}", "{{.Names}}", "{{ a }}", "{ a }", "{a }", "{1}", "{a-b}",
    "{a.}", "{.a}", "{a..b}", "{a!r}", "{a:>3}", "{a[0]}", "{a|x}", "{inputs.who|x}", "{previous|x}", "{ä}",
    '{"a": {"b": [1, {}]}}', "{a\n}", "{previous.a|x{y", "${x-1}", "{a|", "{previous.a|", "{previous.a|x", "{1a}",
]  # fmt: skip

FILLED = {
    "{a}": "A",
    "x{a}y": "xAy",
    "{a}{a}": "AA",
    "{n}": 3,
    " {n}": " 3",
    "{flag}": True,
    "{flag}.": "true.",
    "{d.k}": [1, {"z": None}],
    "{d.k}!": '[1,{"z":null}]!',
    "{d.k.0}": 1,
    "{d.k.1.z}": None,
    "{d.k.1.z}!": "null!",
    "{d.0}": "zero",
    "{inputs}": {"who": "ann"},
    "{inputs.who}": "ann",
    "{run.id}": "r1",
    "{trigger.body.x}": 1,
    "{previous.a}": "old",
    "{previous.a|new}": "old",
    "{previous.b|new}": "new",
    "{previous.b|}": "",
    "{previous.a.deep|new}": "new",
    "{trigger.body.y| a: b|c }": " a: b|c ",
    '{"a":{n}}': '{"a":3}',
    '{"a":{"b":{n}}}': '{"a":{"b":3}}',
    "${a}": "$A",
    "{{a}": "{A",
    "{a}}": "A}",
    "{a{n}}": "{a3}",
    "{{a}}": "{a}",
    "{{a.b.0}}": "{a.b.0}",
    "{{{a}}}": "{{a}}",
    "{{{{a}}}}": "{{{a}}}",
    "{{previous.a|x}}": "{previous.a|x}",
    "{{a}} {a}": "{a} A",
    "{t}": "{a} {{a}}",
    "{t}{t}": "{a} {{a}}{a} {{a}}",
}

MISSING = {
    "{b}": "{b}: step 'b' has no output in this run",
    "{a.x}": "{a.x}: the output of step 'a' is text, so it has no 'x'",
    "{n.x}": "{n.x}: the output of step 'n' is a number, so it has no 'x'",
    "{flag.x}": "{flag.x}: the output of step 'flag' is a boolean, so it has no 'x'",
    "{d.q}": "{d.q}: the output of step 'd' has no 'q'; it has: k, 0",
    "{d.k.2}": "{d.k.2}: 'k' of the output of step 'd' is a list of 2 and has no '2'",
    "{d.k.x}": "{d.k.x}: 'k' of the output of step 'd' is a list of 2 and has no 'x'",
    "{d.k.1.z.y}": "{d.k.1.z.y}: 'z' of '1' of 'k' of the output of step 'd' is null, so it has no 'y'",
    "{previous.b}": "{previous.b}: the last successful run (01234567) has no step 'b'; it has: a",
    "{previous.a.b}": "{previous.a.b}: the output of step 'a' in run 01234567 is text, so it has no 'b'",
    "{previous}": "{previous}: needs the name of a step, such as {previous.step}",
    "{trigger.q}": "{trigger.q}: this run was started by 'webhook', whose trigger has no 'q' (it has: type, body); "
    "give a default: {trigger.q|text}",
    "{trigger.q.r}": "{trigger.q.r}: this run was started by 'webhook', whose trigger has no 'q' (it has: type, body); "
    "give a default: {trigger.q.r|text}",
    "{trigger.body.q}": "{trigger.body.q}: 'body' of the trigger has no 'q'; it has: x",
    "{inputs.q}": "{inputs.q}: inputs has no 'q'; it has: who",
}


@pytest.mark.parametrize("text", LITERAL)
def test_what_is_no_placeholder_stays(text: str) -> None:
    assert resolve(text, SCOPE) == text
    assert find(text) == ()


@pytest.mark.parametrize("template", FILLED)
def test_filled(template: str) -> None:
    assert resolve(template, SCOPE) == FILLED[template]
    assert type(resolve(template, SCOPE)) is type(FILLED[template])
    assert resolve_text(template, SCOPE) == as_text(FILLED[template])


@pytest.mark.parametrize("template", MISSING)
def test_missing(template: str) -> None:
    with pytest.raises(PlaceholderError) as caught:
        resolve(template, SCOPE)
    assert str(caught.value) == MISSING[template]


def test_first_run_and_no_trigger() -> None:
    with pytest.raises(PlaceholderError) as caught:
        resolve("{previous.a.b}", FIRST_TIME)
    assert str(caught.value) == (
        "{previous.a.b}: this workflow has no earlier successful run; "
        "a default for the first time is written {previous.a.b|text}"
    )
    with pytest.raises(PlaceholderError) as caught:
        resolve("{trigger.body}", FIRST_TIME)
    assert str(caught.value) == (
        "{trigger.body}: this run was not started by a trigger; give a default: {trigger.body|text}"
    )
    with pytest.raises(PlaceholderError, match=re.escape("{trigger}: this run was not started by a trigger") + "$"):
        resolve("{trigger}", FIRST_TIME)
    with pytest.raises(PlaceholderError, match="the trigger has no 'q'; it has: x"):
        resolve("{trigger.q}", Scope(trigger={"x": 1}))
    assert resolve("{previous.a|0}", FIRST_TIME) == "0"
    assert resolve("{trigger.body|none}", FIRST_TIME) == "none"


def test_a_long_index_is_only_missing() -> None:
    with pytest.raises(PlaceholderError, match="is a list of 2"):
        resolve("{d.k." + "9" * 6_000 + "}", SCOPE)


# What follows holds for every text, not only for those above.

NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
BRACES = st.text(st.sampled_from("{}{}{}ab.0|_ \n'\"$\\é"), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(text=BRACES | st.text())
@example(text="{" * 1_000)
def test_the_pieces_are_the_text(text: str) -> None:
    at, rebuilt = 0, ""
    for token in scan(text):
        assert token.start >= at
        inner = token.text if isinstance(token, Escape) else str(token)
        expected = "{" + inner + "}" if isinstance(token, Escape) else inner
        assert text[token.start : token.end] == expected
        rebuilt += text[at : token.start] + inner
        at = token.end
    assert "".join(str(piece) for piece in parse(text)) == rebuilt + text[at:]


@given(text=BRACES | st.text())
def test_text_without_tokens_is_unchanged(text: str) -> None:
    assume(not any(True for _ in scan(text)))
    assert resolve(text, SCOPE) == text
    assert resolve_text(text, SCOPE) == text


@given(path=st.lists(NAME, min_size=1, max_size=4), before=st.text(), after=st.text(), depth=st.integers(2, 5))
def test_an_escape_loses_one_pair_of_braces(path: list[str], before: str, after: str, depth: int) -> None:
    assume("{" not in before + after and "}" not in before + after)
    inner = ".".join(path)
    text = before + "{" * depth + inner + "}" * depth + after
    assert resolve(text, Scope()) == before + "{" * (depth - 1) + inner + "}" * (depth - 1) + after


@given(value=JSON, name=NAME)
def test_a_lone_placeholder_keeps_the_value(value: object, name: str) -> None:
    got = resolve("{inputs." + name + "}", Scope(inputs={name: value}))
    assert got is value


@given(value=BRACES | st.text(), other=BRACES, name=NAME)
def test_a_value_is_never_scanned_again(value: str, other: str, name: str) -> None:
    scope = Scope(inputs={name: value, "z_other": other})
    template = "<{inputs." + name + "}>{inputs.z_other}"
    assume(name != "z_other")
    assert resolve(template, scope) == f"<{value}>{other}"


@given(value=JSON)
def test_inside_text_a_value_is_compact_json(value: object) -> None:
    got = resolve("{inputs.x}|", Scope(inputs={"x": value}))[:-1]
    if isinstance(value, str):
        assert got == value
    else:
        assert json.loads(got) == value
        assert got == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(default=st.text(), name=NAME)
def test_a_default_is_taken_as_it_is(default: str, name: str) -> None:
    assume("{" not in default and "}" not in default)
    assert resolve("{previous." + name + "|" + default + "}", Scope()) == default


@given(path=st.lists(NAME | st.integers(0, 99).map(str), min_size=0, max_size=4), first=NAME)
def test_a_placeholder_reads_as_it_is_written(path: list[str], first: str) -> None:
    text = "{" + ".".join([first, *path]) + "}"
    assert find(text) == (Placeholder((first, *path), None, 0, len(text)),)
    assert str(find(text)[0]) == text


@given(value=JSON, path=st.lists(NAME | st.integers(0, 9).map(str), min_size=1, max_size=4))
def test_a_path_finds_what_indexing_finds_or_says_what_is_missing(value: object, path: list[str]) -> None:
    placeholder = Placeholder(("inputs", "x", *path))
    try:
        expected = value
        for part in path:
            if isinstance(expected, dict):
                expected = expected[part]
            elif isinstance(expected, list):
                expected = expected[int(part)]
            else:
                raise KeyError(part)
    except (KeyError, IndexError, ValueError):
        with pytest.raises(PlaceholderError):
            Scope(inputs={"x": value}).lookup(placeholder)
    else:
        assert Scope(inputs={"x": value}).lookup(placeholder) == expected


NAMES, INPUTS = ["a", "step"], {"who": 1}

NEAR = {
    "{a|x}": "only {previous.…} and {trigger.…} take a default; write {a}, or {previous.a|x} for the value of the last",
    "{a.k|x}": "or {previous.a.k|x}",
    "x {step | x } y": "or {previous.step|x}",
    "{inputs.who|x}": "write {inputs.who} and give the default in Workflow(inputs={…})",
    "{inputs.zzz|x}": "Workflow(inputs={…})",
    "{run.id|x}": "write {run.name}",
    "{previous.a |x}": "write {previous.a|x} without blanks",
    "{ trigger.body|x}": "write {trigger.body|x} without blanks",
    "{trigger|x}": "write {trigger.name}",
    "{a!r}": "nothing formats a value; write {a}",
    "{a!s:>3}": "write {a}",
    "{a.k:>10}": "write {a.k}",
    "{step:,}": "write {step}",
    "{step:.2f}": "write {step}",
    "{step:*^9}": "write {step}",
    "{ a }": "write {a}",
    "{a }": "write {a}",
    "{\ta}": "write {a}",
    "{ inputs.who }": "write {inputs.who}",
    "{previous.step!r}": "write {previous.step}",
    "{ run.id }": "write {run.id}",
    '{"k":{a!r}}': "write {a}",
}
NOT_NEAR = [
    "{a}", "{a.k}", "{previous.a|x}", "{trigger.body|x}", "{{a}}", "{{ a }}", "{{a|x}}", "{{a!r}}", "{b|x}", "{ b }",
    "{b!r}", "{previous.b!r}", "{ inputs.zzz }", "{run.zzz!r}", "{secret.x!r}", "{print $1}", "{a,b}", "{a: 1}",
    "{a:1}", "{a:b}", "{a:'x'}", "{\n a\n}", "{a b}", "{ a; }", "{a!}", "{}", "a | b ! c : d", "{a|x\n}", "$ {a",
]  # fmt: skip


@pytest.mark.parametrize("template", NEAR)
def test_what_looks_like_a_placeholder_is_said(template: str) -> None:
    (miss,) = near_misses(template)
    assert miss.meant(NAMES, INPUTS)
    assert miss.text in template
    assert NEAR[template] in miss.problem()


@pytest.mark.parametrize("template", NOT_NEAR)
def test_what_means_itself_is_left_alone(template: str) -> None:
    assert not [miss for miss in near_misses(template) if miss.meant(NAMES, INPUTS)]


@given(st.text(st.sampled_from("{}a.|!r: >"), max_size=30))
def test_a_near_miss_is_no_token(template: str) -> None:
    spans = [(token.start, token.end) for token in scan(template)]
    for miss in near_misses(template):
        assert (miss.start, miss.start + len(miss.text)) not in spans
