"""A draft model changes how fast an answer comes, never what it says; and it is used only while it pays."""

from __future__ import annotations

import threading
import time

import pytest

from lamina.contracts.inference import Chunk, SamplingParams
from lamina.deployment.compress.quantize import quantize
from lamina.deployment.engine import draft as module
from lamina.deployment.engine.draft import Draft, DraftGuesser
from lamina.deployment.engine.engine import Engine
from lamina.deployment.engine.runner import Runner
from lamina.deployment.engine.scheduler import Scheduler
from lamina.deployment.engine.speculation import Guesser, Lookup, Speculation
from lamina.kit.errors import ConfigError, LaminaError

ODD = [5, 3, 60, 7, 7, 41, 0, 12, 80, 33, 2, 19, 54, 5, 3, 60]
GREEDY = {"temperature": 0.0}
SAMPLED = {"temperature": 0.9, "seed": 3, "top_p": 0.95}
WAYS = [("torch", False), ("torch", True), ("compiled", True), ("native", True)]


@pytest.fixture
def draft(tiny_model):
    """``draft(seed=0, …)``: of the tiny models, whose seed 0 is the one that the engines below serve."""
    made: list[Draft] = []

    def make(seed: int = 0, *, kernels="torch", int8=False, vocabulary=None, **options) -> Draft:
        model = tiny_model(seed=seed)
        size = vocabulary or model.spec.stack.embeddings.vocabulary
        made.append(Draft(quantize(model) if int8 else model, vocabulary=size, kernels=kernels, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def seen(monkeypatch):
    """(guessed, right) of each step that checked a draft's guesses; nothing else guesses."""
    told: list[tuple[int, int]] = []
    learn = DraftGuesser.learn
    monkeypatch.setattr(DraftGuesser, "learn", lambda self, *made: (told.append(made), learn(self, *made))[1])
    monkeypatch.setattr(Lookup, "_found", lambda *_: [])
    return told


@pytest.fixture
def always(monkeypatch) -> None:
    """Four guesses at each step, whatever they cost."""
    monkeypatch.setattr(Speculation, "length", lambda *_: 4)
    monkeypatch.setattr(Speculation, "steps", lambda *_: 1e-9)
    monkeypatch.setattr(module, "_PLAIN", 1 << 30)


class Asked:
    """A request and what came of it."""

    def __init__(self, engine: Engine, id: str, prompt: list[int], **sampling) -> None:
        self.items: list[Chunk | LaminaError] = []
        self._done = threading.Event()
        engine.submit(id, prompt, SamplingParams(**{"max_tokens": 30} | sampling), self._take)

    def _take(self, item: Chunk | LaminaError) -> None:
        self.items.append(item)
        if isinstance(item, LaminaError) or item.finish_reason:
            self._done.set()

    def tokens(self) -> list[int]:
        assert self._done.wait(60)
        assert isinstance(self.items[-1], Chunk), self.items[-1]
        return [token for chunk in self.items for token in chunk.tokens]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("kernels", "int8"), WAYS)
def test_answers_are_the_same_with_a_draft_that_is_wrong_and_one_that_is_right(
    engine, draft, tiny_model, seen, kernels, int8
) -> None:
    def answers(guessing: Draft | None) -> list[list[int]]:
        served = engine(quantize(tiny_model()) if int8 else tiny_model(), kernels=kernels, draft=guessing)
        found = [Asked(served, "a", ODD, **sampling).tokens() for sampling in (GREEDY, SAMPLED)]
        assert served._blocks.free == served._blocks.total
        return found

    plain = answers(None)
    assert seen == []
    assert answers(draft(seed=1, kernels=kernels, int8=int8)) == plain
    assert sum(right for _, right in seen) < sum(guessed for guessed, _ in seen) / 2
    seen.clear()
    assert answers(draft(kernels=kernels, int8=int8)) == plain
    # One token by the prompt, one while the draft reads, the others in steps of five.
    assert seen[:6] == [(4, 4)] * 5 + [(2, 2)], "the same model says the same, whether it is asked ahead or not"


@pytest.mark.usefixtures("always")
def test_a_small_draft_of_another_shape(engine, draft, tiny_model, seen) -> None:
    plain = Asked(engine(), "a", ODD, **GREEDY).tokens()
    other = Draft(tiny_model("gpt2", seed=2), vocabulary=tiny_model().spec.stack.embeddings.vocabulary, kernels="torch")
    assert Asked(engine(draft=other), "a", ODD, **GREEDY).tokens() == plain
    assert seen


@pytest.mark.usefixtures("always")
def test_several_that_come_and_go_and_are_preempted(engine, draft, seen, monkeypatch) -> None:
    begun_anew: list[str] = []
    preempt = Scheduler._preempt
    monkeypatch.setattr(Scheduler, "_preempt", lambda self, one: (begun_anew.append(one.id), preempt(self, one))[1])
    prompts = {str(n): [*ODD[n:], *ODD[:n]] for n in range(5)}
    alone = engine()
    plain = {id: Asked(alone, id, prompt, max_tokens=20 + int(id), **GREEDY).tokens() for id, prompt in prompts.items()}
    # Room for two at their longest: the others wait, or have to begin anew.
    tight = engine(draft=draft(), max_sequences=3, block_tokens=4, cache_mb=1)
    tight._blocks.restrict(tight._blocks.needed(2 * 40) - 2)
    asked = {id: Asked(tight, id, prompt, max_tokens=20 + int(id), **GREEDY) for id, prompt in prompts.items()}
    assert {id: one.tokens() for id, one in asked.items()} == plain
    assert seen, "the last of them was alone for a while"
    assert begun_anew
    again = {id: Asked(tight, id, prompt, max_tokens=20 + int(id), **GREEDY).tokens() for id, prompt in prompts.items()}
    assert again == plain
    tight._blocks.check([])


@pytest.mark.usefixtures("always")
def test_one_that_is_aborted_leaves_the_draft_in_order(engine, draft, seen) -> None:
    plain = Asked(engine(), "a", ODD, **GREEDY).tokens()
    served = engine(draft=draft())
    gone = Asked(served, "gone", [7, 7, 41, 3], max_tokens=150, ignore_eos=True, **GREEDY)
    deadline = time.monotonic() + 30
    while not gone.items:
        assert time.monotonic() < deadline
    served.abort("gone")
    seen.clear()
    assert Asked(served, "a", ODD, **GREEDY).tokens() == plain
    assert (4, 4) in seen


@pytest.mark.usefixtures("always")
def test_a_fault_of_the_draft_costs_no_answer(engine, draft, seen, monkeypatch, caplog) -> None:
    plain = Asked(engine(), "a", ODD, **GREEDY).tokens()
    small = draft()
    served = engine(draft=small)
    decode = Runner.decode
    monkeypatch.setattr(
        Runner, "decode", lambda self, *a: 1 // 0 if self is small._runner and len(seen) > 1 else decode(self, *a)
    )
    assert Asked(served, "a", ODD, **GREEDY).tokens() == plain
    assert len(seen) == 2, "it was asked once too often, and never again"
    assert "answers are written without it" in caplog.messages[-1]


@pytest.mark.parametrize(("kernels", "int8"), WAYS)
def test_guesses_are_what_the_model_says_and_wrong_ones_are_taken_back(draft, kernels, int8) -> None:
    one = draft(kernels=kernels, int8=int8)

    def afresh(tokens: list[int], most: int) -> list[int]:
        one.follow(object(), tokens, b"")
        return one.guess(tokens, most)

    tokens = list(ODD)
    me = object()
    assert one.follow(me, tokens, b"r") == len(ODD)
    first = one.guess(tokens, 5)
    tokens += [*first[:2], 9]
    assert one.follow(me, tokens, b"r") == 1, "of five guesses four were read, two were right, then came another"
    second = one.guess(tokens, 3)
    tokens += second
    assert one.follow(me, tokens, b"r") == 1
    third = one.guess(tokens, 4)
    assert afresh(tokens[: len(ODD)], 5) == first
    assert afresh(tokens[: len(ODD) + 3], 3) == second
    assert afresh(tokens, 4) == third
    later = object()
    one.follow(later, tokens, b"")
    one.read(tokens, 10)
    assert one.follow(later, tokens, b"") == len(tokens) - 10
    assert one.guess(tokens, 4) == third, "read in parts"


def test_a_beginning_is_kept_for_whoever_may_know_of_it(draft) -> None:
    one = draft()
    one.follow("a", ODD, b"r")
    one.guess(ODD, 1)
    assert one.follow("b", [*ODD[:10], 1, 2], b"r") == 2
    assert one.follow("c", [*ODD[:10], 1, 2], b"s") == 12
    one.guess([*ODD[:10], 1, 2], 1)
    assert one.follow("d", [*ODD[:10], 1, 2], b"s") == 1, "the last one has to be computed, for its scores"
    one.follow("e", ODD, b"")
    one.guess(ODD, 1)
    assert one.follow("f", ODD, b"") == len(ODD), "without a root nothing is known of whose it was"


def test_ids_that_only_one_of_the_models_has(draft) -> None:
    one = draft(vocabulary=20)
    for seed in range(4):
        one.follow(object(), ODD[seed:], b"")
        assert max(one.guess(ODD[seed:], 6)) < 20
    odd = [*ODD, 5000]
    one.follow(object(), odd, b"")
    assert len(one.guess(odd, 2)) == 2


def test_it_guesses_as_far_as_its_context_goes(engine, draft, seen, always) -> None:
    small = draft(context=24)
    plain = Asked(engine(), "a", ODD, **GREEDY).tokens()
    assert Asked(engine(draft=small), "a", ODD, **GREEDY).tokens() == plain
    assert seen
    assert not small.failed
    assert sum(right + 1 for _, right in seen) < 12, "24 and the one behind them, of 46"
    assert draft(context=10_000).context == 160


class Costs(Speculation):
    """A step takes a second, and so does one with guesses."""

    def __init__(self, checked: float = 1.0) -> None:
        super().__init__()
        self.plain(1.0)
        for count in Guesser.lengths:
            self.checked(count, checked)


def timed(draft: Draft, *, reading: float, guessing: float) -> Draft:
    """As if a token took so many seconds."""
    draft._reading, draft._guessing = reading, guessing
    draft.read = lambda tokens, count: (Draft.read(draft, tokens, count), count * reading)[1]
    return draft


def test_what_guesses_cost_counts(draft) -> None:
    costs = Costs()
    cheap, dear = (DraftGuesser([*ODD], timed(draft(), reading=0.0, guessing=cost), costs, b"") for cost in (0.05, 1.0))
    assert costs.length(cheap) > 0
    assert costs.length(dear) == 0, "two guesses would take two steps"
    assert costs.length(Lookup([*ODD])) == 7, "what is looked up costs nothing"
    for _ in range(40):
        cheap.learn(4, 0)
    assert costs.length(cheap) == 0


def test_a_long_prompt_is_read_in_parts_that_take_about_a_step_each(draft) -> None:
    one, tokens, read = timed(draft(), reading=1 / 20, guessing=0.0), ODD * 6, []
    costs, inner = Costs(), one.read
    one.read = lambda of, count: (read.append(count), inner(of, count))[1]
    guesser = DraftGuesser(tokens, one, costs, b"")
    one._reading = 1 / 20
    steps = 0
    while not guesser.guess(2):
        one._reading = 1 / 20  # whatever it takes here
        tokens.append(steps)
        steps += 1
        assert steps < 20
    assert read[0] == 20, "as many as take the time of a step"
    assert sum(read) >= len(ODD) * 6 - module._FEW
    assert steps == len(read)
    assert one.credit < module._CREDIT, "it goes off what it may lose"


def test_without_credit_it_rests_until_a_fiftieth_of_the_time_has_paid_for_it(draft) -> None:
    one, costs = timed(draft(), reading=0.0, guessing=0.5), Costs()
    guesser = DraftGuesser([*ODD], one, costs, b"")
    spent = 0.0
    while one.credit > 0:
        assert spent < 1000
        guesser.learn(4, 0)
        spent += 2.0  # three steps' time for one token
    assert spent == pytest.approx(module._CREDIT)
    again = DraftGuesser([*ODD], one, costs, b"")  # another request
    one._guessing = 0.5
    waited = 0
    one.credit = -0.99
    while not again.guess(2):
        one.wait()
        waited += 1
        assert waited < 100
    assert 50 <= waited <= 52
    before = one.credit
    one._guessing = 0.5
    for _ in range(3):
        again.learn(4, 4)
    assert one.credit == pytest.approx(before + 3 * (5 - 3.0)), "and what it saves it may lose again"


def test_a_prompt_that_it_could_not_pay_for_is_not_begun(draft) -> None:
    one, costs = timed(draft(), reading=2.0, guessing=0.0), Costs()
    assert DraftGuesser(ODD * 3, one, costs, b"").guess(2) == []
    assert one.credit == module._CREDIT
    assert one.follow(None, ODD * 3, b"") == 48, "nothing was read"
    one._reading = 1.0
    assert DraftGuesser(ODD * 3, one, costs, b"").guess(2) == []
    assert one.credit < module._CREDIT


def test_now_and_then_a_step_goes_without_it_so_that_its_time_stays_known(draft) -> None:
    one, costs, tokens = timed(draft(), reading=0.0, guessing=0.0), Costs(), [*ODD[:4]]
    guesser = DraftGuesser(tokens, one, costs, b"")
    one.credit = 1000.0
    found = []
    for _ in range(2 * module._PLAIN):
        found.append(bool(guesser.guess(1)))
        tokens.append(3)
    assert found.count(False) == 2


def test_one_that_was_dear_is_tried_again(draft) -> None:
    one, costs = timed(draft(), reading=0.0, guessing=2.0), Costs()
    guesser, steps = DraftGuesser([*ODD], one, costs, b""), 0
    while not costs.length(guesser):
        one.wait()
        steps += 1
        assert steps < 5000, "what it took once, when the machine was busy, stands for ever"
    assert steps > 1000
    assert one.credit == module._CREDIT


def test_what_cannot_be_served_is_no_draft(tiny_model) -> None:
    from dataclasses import replace

    model = tiny_model()
    model.spec = replace(model.spec, decoder=replace(model.spec.decoder, causal=False))
    with pytest.raises(ConfigError, match="the engine serves decoders"):
        Draft(model, vocabulary=87)


def test_its_memory_is_bounded_counted_and_given_back(engine, draft, monkeypatch) -> None:
    small = draft(context=64)
    served = engine(draft=small)
    assert served.cache().coming == 64 * small._runner.token_bytes > 0
    small.follow("a", ODD, b"")
    small.guess(ODD, 1)
    assert served.cache().coming == (64 - len(ODD)) * small._runner.token_bytes
    assert engine().cache().coming == 0
    closed: list[Runner] = []
    monkeypatch.setattr(Runner, "close", lambda self: closed.append(self))
    served.close()
    served.forget()
    assert small._runner in closed
    assert len(closed) == 2


def test_torchs_threads_are_the_large_models_to_set(draft, monkeypatch) -> None:
    """Where bits count, the large model's do not change with them."""
    small, counts = draft(kernels="native", int8=True), []
    monkeypatch.setattr("torch.set_num_threads", counts.append)
    small.use_threads(1)
    assert counts == []
