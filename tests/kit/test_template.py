from __future__ import annotations

import threading
import time

import pytest

from lamina.kit.errors import InputError, LaminaError, ModelFileError, TooLargeError
from lamina.kit.template import END, START, ChatTemplate

TALK = [{"role": "user", "content": " Hi "}, {"role": "assistant", "content": "Hello."}]


def render(source: str, messages: list[dict[str, str]] = TALK, *, open_answer: bool = False) -> str:
    return ChatTemplate(source).render(messages, open_answer=open_answer, names={"bos_token": "<s>"})


def test_what_real_templates_use() -> None:
    source = """{{ bos_token }}{%- set ns = namespace(turns=0) %}
{%- macro turn(role, text) %}[{{ role | upper }}]{{ text }}{% endmacro %}
{%- for message in messages %}
    {%- if message.role not in ['user', 'assistant'] %}{{ raise_exception('no ' + message.role) }}{% endif %}
    {%- set ns.turns = ns.turns + 1 %}
    {{- turn(message['role'], message['content'].strip().split('</think>')[-1]) }}
    {%- if loop.last and add_generation_prompt %}{{ '[ASSISTANT]' }}{% endif %}
{%- endfor %}{{ ns.turns ~ '/' ~ messages | length }}{{ {'a': 'é'} | tojson }}"""
    assert render(source, open_answer=True) == '<s>[USER]Hi[ASSISTANT]Hello.[ASSISTANT]2/2{"a": "é"}'
    with pytest.raises(InputError, match="refuses this conversation: no system"):
        render(source, [{"role": "system", "content": "x"}])


def test_undefined_names_are_empty_and_break_and_continue_work() -> None:
    assert render("{% if tools %}x{% endif %}{{ nothing }}{% for m in messages %}{% break %}{% endfor %}") == ""


def test_generation_blocks_are_marked() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}"
    assert ChatTemplate(source).marks
    assert render(source) == f"{START} Hi {END};{START}Hello.{END};"
    assert not ChatTemplate("{{ messages[0].content }}").marks


@pytest.mark.parametrize(
    "source",
    [
        "{{ lipsum.__globals__['os'] }}",
        "{{ messages.__class__ }}",
        "{{ messages['__class__'] }}",
        "{{ messages | attr('__class__') }}",
        "{{ messages | map(attribute='__class__') | list }}",
        "{{ messages | map('attr', '__class__') | list }}",
        "{% set x = '__cla' %}{{ messages[x ~ 'ss__'].x }}",
        "{% include 'x' %}",
        "{% import 'x' as y %}",
        "{% extends 'x' %}",
        "{{ cycler(1) }}",
        "{{ messages[0].update({}) }}",
        "{{ messages.append(1) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ messages[0].content.format(1) }}",
        "{{ dict(**messages[0]) }}",
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{{ 2 ** 99999999 }}",
        "{{ 'x' | indent(999999999) }}",
        "{{ messages | batch(999999999, 1) | list }}",
        "{% for x in %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
)
def test_hostile_templates_are_refused(source: str) -> None:
    with pytest.raises(LaminaError) as caught:
        render(source)
    assert isinstance(caught.value, ModelFileError | TooLargeError)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}xxxxxxxxxx{% endfor %}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(90) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(90) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s=9) %}{% for a in range(90) %}{% set ns.s = ns.s * ns.s %}{% endfor %}",
        "{% set s = 'x' * 60000 %}{{ s.replace('x', s) }}",
        "{% set s = 'x' * 60000 %}{{ s | replace('x', s) }}",
        "{% set s = 'x' * 60000 %}{{ range(90000) | join(s) }}",
        "{% set s = 'x' * 60000 %}{{ s.join(range(90000) | map('string') | list) }}",
        "{{ 'x' * 999999999 }}",
        "{{ ['x'] * 999999999 }}",
    ],
)
def test_runaway_templates_end_soon(source: str) -> None:
    start = time.monotonic()
    with pytest.raises(TooLargeError):
        render(source)
    assert time.monotonic() - start < 3


def test_an_error_says_which_line() -> None:
    with pytest.raises(ModelFileError, match=r"chat template:2: .*'lipsum'"):
        ChatTemplate("a\n{{ lipsum() }}")


def test_two_threads_may_render_at_once() -> None:
    template = ChatTemplate("{% for m in messages %}{{ m.content ~ '' }}{% endfor %}")
    found: list[bool] = []

    def work(size: int) -> None:
        text = "x" * size
        for _ in range(50):
            found.append(template.render([{"role": "user", "content": text}] * 20, open_answer=False) == text * 20)

    threads = [threading.Thread(target=work, args=(size,)) for size in (1, 20_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 100
