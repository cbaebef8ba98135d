"""The plan of a garbage collection: pure, so checked for all inputs."""

from hypothesis import given
from hypothesis import strategies as st

from backstay.repository.prune_plan import MOST_UNUSED, PackUse, plan_prune

uses = st.builds(
    lambda size, total, share, metadata: PackUse(size, int(total * share), total, metadata),
    st.integers(1, 64 << 20),
    st.integers(1, 128 << 20),
    st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1)),
    st.booleans(),
)
packs = st.dictionaries(st.binary(min_size=32, max_size=32), uses, max_size=40)


@given(packs, st.data())
def test_every_pack_has_one_fate_and_no_needed_one_is_condemned(
    uses_of: dict[bytes, PackUse], data: st.DataObject
) -> None:
    """Keep, rewrite, condemn and spare divide the packs; only packs that nothing needs are condemned."""
    spared = frozenset(pack for pack in uses_of if data.draw(st.booleans()))
    plan = plan_prune(uses_of, spared)
    fates = [plan.keep, plan.rewrite, plan.condemn, plan.spared]
    assert sorted(pack for fate in fates for pack in fate) == sorted(uses_of)
    assert all(uses_of[pack].needed == 0 for pack in plan.condemn)
    assert all(uses_of[pack].needed > 0 for pack in plan.rewrite)
    assert not (plan.rewrite | plan.condemn) & spared


@given(packs)
def test_little_is_left_unused(uses_of: dict[bytes, PackUse]) -> None:
    """After the plan at most a twentieth of what is kept is garbage."""
    plan = plan_prune(uses_of)
    left = sum(uses_of[pack].unused_bytes for pack in plan.keep)
    needed = sum(use.size - use.unused_bytes for use in uses_of.values() if use.needed)
    assert left <= MOST_UNUSED * needed + len(uses_of)
    assert plan.unused_bytes == left


@given(packs)
def test_planning_again_changes_nothing(uses_of: dict[bytes, PackUse]) -> None:
    """Once carried out, and small packs apart, a plan leaves nothing to do."""
    plan = plan_prune(uses_of)
    after = {pack: uses_of[pack] for pack in plan.keep}
    again = plan_prune(after)
    assert not again.condemn
    assert not {pack for pack in again.rewrite if after[pack].needed < after[pack].total / 2}
