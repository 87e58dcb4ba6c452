"""The lease rule, played to its end by many gateways in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.lease import MIN_LEASE_BYTES, SHARE, Give, Recall, Spent, Unmetered, decide_lease, lease_size
from whago.domain.rules.thresholds import OnLimit

BYTES = st.integers(0, 10**12)


@given(BYTES, BYTES, BYTES, BYTES, BYTES)
def test_a_lease_never_passes_the_limit(limit: int, committed: int, own: int, other: int, want: int) -> None:
    decision = decide_lease(
        limit=limit,
        on_limit=OnLimit.BLOCK,
        committed=committed,
        own_outstanding=own,
        other_outstanding=other,
        want=want,
    )
    if isinstance(decision, Give) and decision.lease_bytes > 0:
        assert committed + own + other + decision.lease_bytes <= limit


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10**6), st.booleans()), max_size=200), st.integers(0, 10**7)
)
def test_gateways_in_any_order_use_the_whole_limit_and_not_a_byte_more(
    steps: list[tuple[int, int, bool]], limit: int
) -> None:
    committed, held = 0, [0, 0, 0, 0]
    for gateway, want, spends in steps:
        decision = ask(limit, committed, held, gateway, want)
        if isinstance(decision, Give):
            held[gateway] += decision.lease_bytes
        if isinstance(decision, Recall):
            held = [held[g] if g == gateway else 0 for g in range(4)]
        if spends:
            committed, held[gateway] = committed + held[gateway], 0
        assert committed + sum(held) <= limit
    committed, held = committed + sum(held), [0, 0, 0, 0]
    while not isinstance(decision := ask(limit, committed, held, 0, 10**6), Spent):
        assert isinstance(decision, Give)
        committed += decision.lease_bytes
    assert committed == limit


def ask(limit: int, committed: int, held: list[int], gateway: int, want: int) -> object:
    return decide_lease(
        limit=limit,
        on_limit=OnLimit.BLOCK,
        committed=committed,
        own_outstanding=held[gateway],
        other_outstanding=sum(held) - held[gateway],
        want=want,
    )


def test_leases_shrink_as_the_limit_nears() -> None:
    wanted = 50_000_000
    sizes = [lease_size(free, wanted) for free in (10**9, 10**8, 10**7, 10**6, 10**4)]
    assert sizes == sorted(sizes, reverse=True)
    assert lease_size(10**7, wanted) == 10**7 // SHARE
    assert lease_size(MIN_LEASE_BYTES // 2, wanted) == MIN_LEASE_BYTES // 2


def test_plans_that_do_not_stop_running_tunnels_need_no_lease() -> None:
    def decide(on_limit: OnLimit, limit: int | None) -> object:
        return decide_lease(
            limit=limit, on_limit=on_limit, committed=100, own_outstanding=0, other_outstanding=0, want=1
        )

    assert decide(OnLimit.BILL, 100) == Unmetered(admits=True)
    assert decide(OnLimit.BLOCK_NEW, 100) == Unmetered(admits=False)
    assert decide(OnLimit.BLOCK_NEW, 10**6) == Unmetered(admits=True)
    assert decide(OnLimit.BLOCK, None) == Unmetered(admits=True)
    assert decide(OnLimit.BLOCK, 0) == Spent()
