"""Explainers: the template word for word, people's words, and texts that cannot hide anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from workbench.explain import Evidence, Passage, Person, Template

EVIDENCE = Evidence(
    group=0,
    expert=7,
    tokens=40,
    shares={"python": 0.7, "lua": 0.25, "c": 0.05, "php": 0.0},
    vocabulary={"return": 0.5, "\n": 0.3, "yield": 0.2},
    different=2.7,
    best=np.array([5]),
    passages=[Passage(["a", " «b»"], np.array([False, True]))],
    raised=[" None", "\n", "x", "y"],
    lowered=[")", "(", "z"],
)


def test_template_word_for_word() -> None:
    assert Template().explain(EVIDENCE) == (
        "Fires at “return” (50%), “↵” (30%) and “yield” (20%), of about 3 different tokens, in python (70%) and "
        "lua (25%); makes “·None”, “↵” and “x” more likely next and “)”, “(” and “z” less."
    )
    bare = replace(EVIDENCE, raised=[], lowered=[], vocabulary={"return": 1.0}, different=1.0, shares={"c": 1.0})
    assert Template().explain(bare) == "Fires at “return” (100%), of about 1 different token, in c (100%)."


def test_template_of_an_expert_that_is_not_active() -> None:
    inactive = replace(EVIDENCE, tokens=0, vocabulary={}, shares={"c": 0.0})
    assert Template().explain(inactive) == "Not active in the documents it is explained from."


def test_template_shows_control_characters_of_the_corpus() -> None:
    hostile = replace(EVIDENCE, vocabulary={"a\u202eb\x1b[2J": 1.0}, shares={"c\n\x07d": 1.0})
    sentence = Template().explain(hostile)
    assert "“a\\u202eb\\x1b[2J”" in sentence
    assert "c d" in sentence
    assert sentence.isprintable()


def test_person_is_quoted_on_one_line() -> None:
    assert Person("Ada", "  Fires at\n «return»\u202e ").explain(EVIDENCE) == "Fires at «return»"
