"""verify_accept where the outcome is certain: acceptance, first failure, residual, redraw, and independence of the
batch.

Laws, drafts and options are chosen so that no draw matters, or so that only one id can win.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _live import on_backends
from torch import Tensor

from sjd2_kernels import verify_accept

pytestmark = on_backends("verify_accept")
EVERY_REDRAW = ("fresh", "keep", "couple")


def rows(*weights: list[float]) -> Tensor:
    """[1, L, V] float32 from lists."""
    return torch.tensor([list(weights)], dtype=torch.float32)


def peaked(B: int, L: int, V: int, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.softmax(6 * torch.randn(B, L, V, generator=g), -1)


def drafts_of(q: Tensor, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.multinomial(q.flatten(0, 1), 1, generator=g).view(q.shape[:2])


def batch(B: int = 24, L: int = 6, V: int = 37, **extra: Any) -> dict[str, Any]:
    """A call in which every optional argument is there and every path is taken."""
    g = torch.Generator().manual_seed(1)
    p, q = peaked(B, L, V, 2), peaked(B, L, V, 3)
    q = torch.where(torch.rand(B, L, 1, generator=g) < 0.6, p, q)
    forced = torch.where(torch.rand(B, L, generator=g) < 0.1, V, -1)
    draft = torch.where(torch.rand(B, L, generator=g) < 0.9, drafts_of(q), -1)
    return {
        "draft": draft,
        "p": p,
        "q": q,
        "seed": torch.randint(-(2**62), 2**62, (B,), generator=g),
        "pos": torch.randint(0, 9000, (B,), generator=g),
        "fresh": drafts_of(p, 4),
        "epoch": torch.randint(0, 50, (B,), generator=g),
        "verifiable": torch.rand(B, L, generator=g) < 0.9,
        "forced": forced,
        "done": (torch.rand(B, generator=g) < 0.1).int(),
    } | extra


def assert_equal(got: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for name, a, b in zip(("accept_len", "tokens", "ratio"), got, expected, strict=True):
        assert torch.equal(a, b), f"{name} differs first at {(a != b).nonzero()[0].tolist()}"


# what must be accepted, what must be rejected (B2)


@pytest.mark.parametrize("redraw", EVERY_REDRAW)
def test_equal_laws_accept_everything(backend: str, redraw: str) -> None:
    """p == q accepts every draft that q can give: flat, peaked (down to 1e-30) and denormal laws, 4,000 slots each."""
    V = 64
    g = torch.Generator().manual_seed(5)
    tiny = torch.full((200, 20, V), 1e-45)
    tiny[..., 0] = 1.0
    for law in (torch.full((200, 20, V), 1 / V), torch.softmax(12 * torch.randn(200, 20, V, generator=g), -1), tiny):
        draft = torch.randint(0, V, (200, 20), generator=g)
        draft = torch.where(law.gather(-1, draft[..., None])[..., 0] > 0, draft, law.argmax(-1))
        n, tokens, ratio = verify_accept(draft, law, law.clone(), torch.arange(200), 7, redraw=redraw, backend=backend)
        assert (n == 20).all()
        assert torch.equal(tokens, draft)
        assert (ratio == 1).all()


def test_larger_p_accepts_everything(backend: str) -> None:
    q = peaked(500, 4, 16)
    draft = drafts_of(q)
    p = q * 0.9 + 0.1 * torch.nn.functional.one_hot(draft, 16)
    n, _, ratio = verify_accept(draft, p, q, torch.arange(500), 0, backend=backend)
    assert (n == 4).all()
    assert (ratio == 1).all()


@pytest.mark.parametrize("redraw", EVERY_REDRAW)
def test_disjoint_supports_reject_at_the_first_slot(backend: str, redraw: str) -> None:
    V = 10
    low = torch.arange(V) < 5
    p, q = peaked(400, 3, V) * low, peaked(400, 3, V) * ~low
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    draft = drafts_of(q)
    n, tokens, ratio = verify_accept(draft, p, q, torch.arange(400), 0, redraw=redraw, backend=backend)
    assert (n == 0).all()
    assert (ratio == 0).all()
    assert (tokens[:, 0] < 5).all()
    assert (p[:, 0].gather(-1, tokens[:, :1]) > 0).all()
    if redraw == "couple":
        assert (tokens < 5).all()
    else:
        assert (tokens[:, 1:] == -1).all()  # no fresh was given


def test_ratio_is_the_rate_of_acceptance(backend: str) -> None:
    """p(d)/q(d) = 0.375 over 2^17 seeds: within 4.5 standard deviations (an error of 0.007 is found with probability
    0.7, one of 0.01 with 0.999); and the ratio is that number."""
    B = 2**17
    p, q = rows([0.1875, 0.8125]).expand(B, 1, 2), rows([0.5, 0.5]).expand(B, 1, 2)
    n, tokens, ratio = verify_accept(torch.zeros(B, 1, dtype=torch.long), p, q, torch.arange(B), 0, backend=backend)
    assert (ratio == 0.375).all()
    assert abs(n.float().mean().item() - 0.375) < 4.5 * (0.375 * 0.625 / B) ** 0.5
    assert torch.equal(tokens[:, 0], 1 - n.long())


def test_the_residual_of_one_id_is_that_id(backend: str) -> None:
    """p exceeds q at one id only, by as little as one unit in the last place: every rejection gives that id."""
    for excess in (0.25, 1e-3, 2.0**-24):
        q = torch.full((2000, 1, 8), 0.125)
        p = q.clone()
        p[..., 5] += excess
        p[..., 2] = 0.0
        draft = torch.full((2000, 1), 2)
        n, tokens, _ = verify_accept(draft, p, q, torch.arange(2000), 3, backend=backend)
        assert (n == 0).all(), excess
        assert (tokens == 5).all(), excess


def test_a_denormal_residual_still_wins(backend: str) -> None:
    """E / 1e-45 overflows; the only candidate must win all the same, and the lowest of several."""
    q = torch.zeros(500, 1, 6)
    q[..., 0] = 1.0
    p = q.clone()
    p[..., 0] = 0.0
    p[..., 3] = 1e-45
    n, tokens, _ = verify_accept(torch.zeros(500, 1, dtype=torch.long), p, q, torch.arange(500), 0, backend=backend)
    assert (n == 0).all()
    assert (tokens == 3).all()


def test_an_empty_residual_gives_a_draw_from_p(backend: str) -> None:
    """p < q at every id, as rounding can leave it: the draw is stream 2's from p. With p all zero too: id 0."""
    B, V = 3000, 4
    q = rows([0.5, 0.5, 0.0, 0.0]).expand(B, 1, V)
    p = rows([0.25, 1e-30, 0.0, 0.0]).expand(B, 1, V)
    draft = torch.ones(B, 1, dtype=torch.long)
    n, tokens, _ = verify_accept(draft, p, q, torch.arange(B), 0, backend=backend)
    assert (n == 0).all()
    assert (tokens == 0).all()
    missing = verify_accept(torch.full_like(draft, -1), p, q, torch.arange(B), 0, backend=backend)[1]
    assert torch.equal(missing, tokens)
    n, tokens, ratio = verify_accept(draft, torch.zeros_like(p), q, torch.arange(B), 0, backend=backend)
    assert (n == 0).all()
    assert (tokens == 0).all()
    assert (ratio == 0).all()


# the first failure, wherever it is (B5)


@pytest.mark.parametrize("redraw", EVERY_REDRAW)
@pytest.mark.parametrize("L", [1, 2, 5, 16])
def test_failure_at_every_slot(backend: str, L: int, redraw: str) -> None:
    """Image i fails at slot i and at the last one; image L fails nowhere. The residual is id 1, drafts are 0, fresh is
    2."""
    B, V = L + 1, 3
    keep, swap = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    fails = torch.eye(B, L, dtype=torch.bool)
    fails[:L, -1] = True
    p = torch.where(fails[..., None], swap, keep)
    q = keep.expand(B, L, V)
    draft = torch.zeros(B, L, dtype=torch.long)
    n, tokens, ratio = verify_accept(
        draft, p, q, torch.arange(B), 0, torch.full((B, L), 2), redraw=redraw, backend=backend
    )
    assert n.tolist() == list(range(B))
    assert torch.equal(ratio, (~fails).float())
    for i in range(B):
        beyond = [2 if redraw == "fresh" else 0] * (L - i - 2)
        last = {"fresh": 2, "keep": 2, "couple": 1}[redraw]
        expected = [0] * i + [1] * (i < L) + ([*beyond, last] if i < L - 1 else [])
        assert tokens[i].tolist() == expected, i


def test_all_accepted_has_no_bonus(backend: str) -> None:
    n, tokens, _ = verify_accept(torch.tensor([[1, 0, 1]]), *[torch.full((1, 3, 2), 0.5)] * 2, 0, 0, backend=backend)
    assert n.tolist() == [3]
    assert tokens.tolist() == [[1, 0, 1]]


def test_no_draft_no_law_no_judgement(backend: str) -> None:
    """B15. A draft of -1, one beyond the vocabulary, one that is not verifiable: ratio 0, fresh; without fresh a draw
    from p."""
    p = rows([0.0, 1.0, 0.0]).expand(4, 2, 3)
    draft = torch.tensor([[-1, 1], [3, 1], [-(2**63), 1], [1, 1]])
    verifiable = torch.tensor([[True, True]] * 3 + [[False, True]])
    for fresh, first in ((torch.full((4, 2), 2), 2), (None, 1)):
        n, tokens, ratio = verify_accept(
            draft, p, p, torch.arange(4), 0, fresh, verifiable=verifiable, redraw="couple", backend=backend
        )
        assert n.tolist() == [0] * 4
        assert tokens.tolist() == [[first, 1]] * 4
        assert ratio.tolist() == [[0.0, 1.0]] * 4


def test_q_of_zero_fails(backend: str) -> None:
    """q(d) = 0 means that d was not drawn from q: rejected whatever p is, p(d) = 0 and p(d) = 1 included."""
    q = rows([0.0, 1.0]).expand(2, 1, 2)
    p = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    n, tokens, ratio = verify_accept(torch.zeros(2, 1, dtype=torch.long), p, q, torch.arange(2), 0, backend=backend)
    assert n.tolist() == [0, 0]
    assert ratio.tolist() == [[0.0], [0.0]]
    assert tokens.tolist() == [[0], [1]]


def test_keep_holds_from_one_half_on(backend: str) -> None:
    half = 0.5
    below = torch.nextafter(torch.tensor(0.25), torch.tensor(0.0)).item()
    p = rows([0.0, 1.0], [0.25, 0.75], [below, 1 - below], [half, half], [0.0, 1.0])
    q = rows([1.0, 0.0], [half, half], [half, half], [half, half], [half, half])
    fresh = torch.full((1, 5), 1)
    n, tokens, ratio = verify_accept(
        torch.zeros(1, 5, dtype=torch.long), p, q, 0, 0, fresh, redraw="keep", backend=backend
    )
    assert n.item() == 0
    assert ratio[0].tolist() == [0.0, 0.5, below / half, 1.0, 0.0]
    assert tokens.tolist() == [[1, 0, 1, 0, 1]]


def test_forced_slots(backend: str) -> None:
    """A forced slot is accepted when reached, with any draft, any law, under every rule, and holds its id beyond a
    failure."""
    nan = float("nan")
    p = rows([1.0, 0.0], [nan, nan], [0.0, 1.0], [0.0, 0.0])
    q = rows([1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [nan, 0.0])
    draft = torch.tensor([[0, -1, 0, 5]])
    forced = torch.tensor([[-1, 2, -1, 7]])
    for accept, redraw in (("ratio", "fresh"), ("ratio", "keep"), ("ratio", "couple"), ("match", "fresh")):
        fresh = torch.tensor([[0, 0, 1, 0]])
        n, tokens, ratio = verify_accept(
            draft, p, q, 0, 0, fresh, forced=forced, accept=accept, redraw=redraw, backend=backend
        )
        assert n.tolist() == [2]
        assert tokens.tolist() == [[0, 2, 1, 7]]
        assert ratio.tolist() == [[1.0, 1.0, 0.0, 1.0]]


def test_match(backend: str) -> None:
    """Accepted while draft == fresh and verifiable; then fresh, to the end."""
    p = torch.full((4, 4, 8), 0.125)
    draft = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4], [5, 2, 3, 4], [1, -1, 3, 4]])
    fresh = torch.tensor([[1, 2, 3, 4], [1, 2, 0, 4], [1, 2, 3, 4], [1, -1, 3, 4]])
    verifiable = torch.ones(4, 4, dtype=torch.bool)
    verifiable[0, 3] = False
    n, tokens, ratio = verify_accept(draft, p, p, 0, 0, fresh, verifiable=verifiable, accept="match", backend=backend)
    assert n.tolist() == [3, 2, 0, 1]
    assert torch.equal(tokens, fresh)
    assert torch.equal(ratio, ((draft == fresh) & verifiable & (draft >= 0)).float())


def test_one_symbol(backend: str) -> None:
    """K = 1: every draft of 0 passes, everything else becomes 0."""
    p = torch.ones(2, 3, 1)
    n, tokens, ratio = verify_accept(
        torch.tensor([[0, 0, 0], [0, -1, 1]]), p, p, 0, 0, redraw="couple", backend=backend
    )
    assert n.tolist() == [3, 1]
    assert tokens.tolist() == [[0] * 3] * 2
    assert ratio.tolist() == [[1, 1, 1], [1, 0, 0]]


def test_empty_sizes(backend: str) -> None:
    for B, L in ((0, 3), (2, 0), (0, 0)):
        p = torch.ones(B, L, 5)
        n, tokens, ratio = verify_accept(
            torch.zeros(B, L, dtype=torch.long), p, p, torch.zeros(B).long(), 0, backend=backend
        )
        assert n.tolist() == [0] * B
        assert tokens.shape == (B, L) == ratio.shape


def test_nan_and_infinite_laws_give_ids_in_range(backend: str) -> None:
    """B10. Whatever the laws hold, tokens are ids below V and ratios are in [0, 1]; healthy rows are untouched."""
    B, L, V = 60, 4, 33
    healthy = batch(B, L, V)
    for name in ("forced", "done"):
        healthy.pop(name)
    expected = verify_accept(**healthy, redraw="couple", backend=backend)
    for bad in (float("nan"), float("inf"), -float("inf"), -1.0):
        for name in ("p", "q"):
            law = healthy[name].clone()
            law[::3, 1] = bad
            law[1::3, 2, ::2] = bad
            n, tokens, ratio = verify_accept(**(healthy | {name: law}), redraw="couple", backend=backend)
            assert ((tokens >= 0) & (tokens < V)).all()
            assert ((ratio >= 0) & (ratio <= 1)).all()
            assert ((n >= 0) & (n <= L)).all()
            slot = torch.ones(B, L, dtype=torch.bool)
            slot[::3, 1], slot[1::3, 2] = False, False
            assert torch.equal(tokens[slot], expected[1][slot])  # under couple every slot is decided alone


# independence of the batch (B6, B7, B13)


@pytest.mark.parametrize(
    ("accept", "redraw"), [("ratio", "fresh"), ("ratio", "keep"), ("ratio", "couple"), ("match", "fresh")]
)
def test_batch_composition_changes_nothing(backend: str, accept: str, redraw: str) -> None:
    """B6, B7. Permuted, split, padded, doubled, image by image and twice in a row: the same bits."""
    a = batch()
    B = len(a["seed"])

    def call(rows: Any) -> tuple[Tensor, ...]:
        return verify_accept(**{k: v[rows] for k, v in a.items()}, accept=accept, redraw=redraw, backend=backend)

    whole = call(slice(None))
    assert_equal(call(slice(None)), whole)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(6))
    assert_equal(call(order), tuple(x[order] for x in whole))
    assert_equal(call(torch.arange(B).repeat(3)), tuple(x.repeat(3, *[1] * (x.dim() - 1)) for x in whole))
    assert_equal(call(torch.tensor([3])), tuple(x[3:4] for x in whole))
    parts = [call(slice(b, b + 1)) for b in range(B)]
    assert_equal(tuple(torch.cat(x) for x in zip(*parts, strict=True)), whole)
    padded = torch.cat([torch.zeros(5).long(), torch.arange(B), torch.full((70,), 1)])
    assert_equal(tuple(x[5 : 5 + B] for x in call(padded)), whole)


def test_window_length_changes_nothing_before_it(backend: str) -> None:
    """The first slots of a longer window are those of a shorter one, and slot j of pos is slot 0 of pos + j
    (couple)."""
    a = batch()
    del a["done"]
    whole = verify_accept(**a, redraw="couple", backend=backend)
    for first in range(a["draft"].shape[1]):
        cut = {k: v[:, first:] if v.dim() > 1 else v for k, v in a.items()} | {"pos": a["pos"] + first}
        n, tokens, ratio = verify_accept(**cut, redraw="couple", backend=backend)
        assert torch.equal(tokens, whole[1][:, first:])
        assert torch.equal(ratio, whole[2][:, first:])


def test_every_image_has_its_own_seed_position_and_epoch(backend: str) -> None:
    """B6. Same laws everywhere: images that differ in seed, pos or epoch only get different residuals (1000 ids, 200
    images)."""
    B, V = 200, 1000
    p = torch.full((B, 1, V), 1 / V)
    draft = torch.full((B, 1), -1)
    base = {"seed": torch.full((B,), 9), "pos": torch.full((B,), 9), "epoch": torch.full((B,), 9)}
    for name in base:
        tokens = verify_accept(draft, p, p, **(base | {name: torch.arange(B)}), backend=backend)[1]
        assert len(tokens.unique()) > 150, name
    assert len(verify_accept(draft, p, p, **base, backend=backend)[1].unique()) == 1


def test_done_images_are_left_out(backend: str) -> None:
    """B7. They give -1, 0 and 0, may hold anything, and change nothing for the others."""
    a = batch()
    done = torch.arange(24) % 3 == 0
    expected = verify_accept(**(a | {"done": None}), redraw="couple", backend=backend)
    for name in ("p", "q"):
        a[name] = torch.where(done[:, None, None], float("nan"), a[name])
    n, tokens, ratio = verify_accept(**(a | {"done": done.int()}), redraw="couple", backend=backend)
    assert (n[done] == 0).all()
    assert (tokens[done] == -1).all()
    assert (ratio[done] == 0).all()
    for got, want in zip((n, tokens, ratio), expected, strict=True):
        assert torch.equal(got[~done], want[~done])


def test_layouts(backend: str) -> None:
    """B21. Transposed, sliced, stepped, expanded and offset arguments give the bits of contiguous ones."""
    a = batch()
    expected = verify_accept(**a, redraw="couple", backend=backend)

    def stepped(x: Tensor) -> Tensor:
        big = torch.full([2 * s + 1 for s in x.shape], -7 if x.dtype != torch.bool else 0).to(x.dtype)
        view = big[tuple(slice(1, None, 2) for _ in x.shape)]
        return view.copy_(x)

    def turned(x: Tensor) -> Tensor:
        return x.movedim(0, -1).contiguous().movedim(-1, 0)

    def sliced(x: Tensor) -> Tensor:
        return torch.cat([x, x], -1)[..., : x.shape[-1]]

    for layout in (stepped, turned, sliced, lambda x: x.transpose(0, -1).contiguous().transpose(0, -1)):
        moved = {k: layout(v) for k, v in a.items()}
        assert_equal(verify_accept(**moved, redraw="couple", backend=backend), expected)
    one = {k: v[:1] for k, v in a.items()}
    spread = {k: v.expand(5, *v.shape[1:]) for k, v in one.items()}
    dense = {k: v.contiguous() for k, v in spread.items()}
    assert_equal(verify_accept(**spread, backend=backend), verify_accept(**dense, backend=backend))


def test_inputs_are_not_changed_and_outputs_are_new(backend: str) -> None:
    """B29. Also when nothing is rejected, where it would be cheap to hand the draft back."""
    a = batch()
    before = {k: v.clone() for k, v in a.items()}
    for arguments in (a, a | {"q": a["p"], "forced": None, "verifiable": None, "done": None}):
        outputs = verify_accept(**arguments, redraw="couple", backend=backend)
        assert all(torch.equal(a[k].nan_to_num(), before[k].nan_to_num()) for k in a)
        pointers = {v.data_ptr() for v in arguments.values() if v is not None}
        assert all(x.is_contiguous() and x.data_ptr() not in pointers for x in outputs)
