"""Specs: one grammar, one spelling, and mistakes that say what there is."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eatlab.adapters import registry
from eatlab.adapters.adapter_set import AdapterSet
from eatlab.adapters.specs import canonical, listed, parse
from eatlab.errors import ExitCode, UserError

words = st.from_regex(r"[a-z*][a-z0-9_.*]{0,6}", fullmatch=True)
options = {
    "none": {},
    "deep_prompt": {"streams": st.lists(words, min_size=1, max_size=3).map(",".join)},
    "shallow_prompt": {"streams": words},
    "toy_film": {"scale": st.floats(-9, 9).map(str), "site": words},
    "toy_shift": {"layer": words, "each": st.sampled_from(["true", "false"])},
    "toy_factors": {"rank": st.integers(-3, 99).map(str), "stream": words},
}


@st.composite
def written_parts(draw: st.DrawFn) -> str:
    """One adapter with some of its options, spaces here and there."""
    name = draw(st.sampled_from(list(options)))
    chosen = draw(st.permutations(list(options[name])))[: draw(st.integers(0, 2))]
    space = draw(st.sampled_from(["", " "]))
    given_options = f",{space}".join(f"{option}={space}{draw(options[name][option])}" for option in chosen)
    return f"{name}({given_options})" if given_options else name


@given(st.lists(written_parts().map(str.strip), max_size=4))
def test_a_list_of_specs_is_parted_at_the_commas_between_them(specs):
    assert listed(", ".join(specs)) == specs


@given(st.lists(written_parts(), min_size=1, max_size=4, unique_by=lambda part: part.split("(")[0]))
def test_a_spec_means_what_its_one_spelling_means(parts):
    spec = " + ".join(parts)
    assert [part[::2] for part in parse(canonical(spec))] == [part[::2] for part in parse(spec)]
    assert canonical(canonical(spec)) == canonical(spec)
    in_full = "+".join(part.spelled(in_full=True) for part in parse(spec))
    assert canonical(in_full) == canonical(spec)


@pytest.mark.parametrize(
    ("spec", "spelling"),
    [
        (" deep_prompt ", "deep_prompt"),
        ("deep_prompt()", "deep_prompt"),
        ("deep_prompt(streams=encoder, decoder)", "deep_prompt"),
        ("shallow_prompt + deep_prompt(streams=decoder)", "shallow_prompt+deep_prompt(streams=decoder)"),
        ("eat", "deep_prompt+edn+eam"),
        ("lora + eat", "lora+deep_prompt+edn+eam"),
        ("toy_film(site=a+b, scale=1.50)", "toy_film(scale=1.5,site=a+b)"),
        ("toy_shift(each=false,layer=a=b)", "toy_shift(each=false,layer=a=b)"),
    ],
)
def test_a_spec_has_one_spelling(spec, spelling):
    assert canonical(spec) == spelling


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("deep_promt", 'adapter "deep_promt" is unknown; there are: none, .*; did you mean deep_prompt\\?'),
        ("deep-prompt", "did you mean deep_prompt\\?"),
        ("quux", 'adapter "quux" is unknown; there are: none, [a-z_0-9, ]*$'),
        (
            "deep_prompt(stream=encoder)",
            'has no option "stream"; its options: streams; did you mean streams\\?',
        ),
        ("none(rank=4)", 'adapter none has no option "rank"; it has no options'),
        ("toy_factors(rank=four)", "toy_factors\\(rank=four\\): the value is not a whole number"),
        ("toy_factors(rank=4,)", "rank=4,\\): the value is not a whole number"),
        ("toy_shift(each=yes)", "the value is not true or false"),
        ("toy_film(scale=nan)", "the value is not a number"),
        ("toy_film(site=)", "the value is not a word"),
        ("deep_prompt(streams=a,,b)", "the value is not words joined by commas"),
        ("toy_factors(rank=1,rank=2)", 'toy_factors: "rank"; write rank=value, once'),
        ("deep_prompt(streams)", 'deep_prompt: "streams"; write streams=value'),
        ("", '"" is no adapter; write name'),
        ("deep_prompt+", '"" is no adapter'),
        ("deep_prompt(", '"deep_prompt\\(" is no adapter'),
        ("deep_prompt+deep_prompt()", '"deep_prompt" stands twice'),
    ],
)
def test_a_mistake_in_a_spec_is_one_line_that_says_what_there_is(spec, message, backbone):
    for use in (canonical, lambda s: AdapterSet(s, backbone)):
        with pytest.raises(UserError, match=message) as error:
            use(spec)
        assert error.value.code == ExitCode.BAD_INPUT
        assert "\n" not in str(error.value)


@pytest.fixture
def foreign(monkeypatch):
    """Adapters of another package, as its entry points name them."""

    def install(**places: str) -> None:
        points = [EntryPoint(name, place, registry.GROUP) for name, place in places.items()]
        monkeypatch.setattr(
            registry, "entry_points", lambda *, group: points if group == registry.GROUP else []
        )

    return install


def test_other_packages_add_adapters_by_entry_points(foreign, backbone):
    foreign(theirs="tests.adapters.toys:Factors")
    assert registry.names()[-1] == "theirs"
    assert AdapterSet("theirs(rank=3)+deep_prompt", backbone).spec == "theirs(rank=3)+deep_prompt"


def test_a_built_in_name_wins_over_a_foreign_one(foreign):
    foreign(none="tests.adapters.toys:Factors")
    assert registry.names().count("none") == 1
    assert parse("none")[0].factory.__name__ == "NoAdapter"


@pytest.mark.parametrize("place", ["no_such_package:Adapter", "tests.adapters.toys:NoSuchAdapter"])
def test_a_foreign_adapter_that_cannot_be_imported_is_one_line(foreign, place):
    foreign(broken=place)
    with pytest.raises(UserError, match=f'adapter "broken" cannot be imported from {place}; .*(N|n)o'):
        parse("broken")


def test_names_are_listed_without_importing_torch():
    code = "import sys; from eatlab.adapters import registry; registry.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
