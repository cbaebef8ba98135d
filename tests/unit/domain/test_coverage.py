"""Which places of a file server its backup sets cover."""

from backstay.domain.content_rule import ContentRule
from backstay.domain.coverage import Coverage, CoveringSet, judge

VOLUMES = ["/", "/data"]


def _set(*paths: str, cross_mounts: bool = False, rule: str = "", number: int = 1) -> CoveringSet:
    return CoveringSet(number, paths, cross_mounts, ContentRule.parse(rule, "rule"))


def _judged(place: str, *sets: CoveringSet) -> Coverage:
    return judge(place, sets, VOLUMES, 0).coverage


def test_a_path_covers_what_lies_below_it() -> None:
    """And nothing beside it, also where names begin alike."""
    assert _judged("/srv/a", _set("/srv")) is Coverage.COVERED
    assert _judged("/srv", _set("/srv")) is Coverage.COVERED
    assert _judged("/srv2", _set("/srv")) is Coverage.UNCOVERED
    assert _judged("/srv", _set("/srv/a")) is Coverage.PARTLY


def test_another_volume_is_covered_only_across_mounts() -> None:
    """A set of the whole system does not take in what is mounted below, unless it crosses mounts."""
    assert _judged("/data", _set("/")) is Coverage.UNCOVERED
    assert _judged("/data/x", _set("/")) is Coverage.UNCOVERED
    assert _judged("/data", _set("/", cross_mounts=True)) is Coverage.COVERED
    assert _judged("/home", _set("/")) is Coverage.COVERED


def test_what_a_rule_leaves_out_is_told_with_the_reason() -> None:
    """Left out on purpose is not the same as forgotten; another set may still cover it."""
    verdict = judge("/srv/cache", [_set("/srv", rule="/srv/cache/")], VOLUMES, 0)
    assert verdict.coverage is Coverage.LEFT_OUT
    assert "rule line 1" in verdict.reason
    both = [_set("/srv", rule="/srv/cache/"), _set("/srv/cache", number=2)]
    assert judge("/srv/cache", both, VOLUMES, 0).sets == (2,)


def test_windows_paths_differ_in_case_and_slashes_only() -> None:
    """D:\\Data and d:/data are the same place."""
    sets = [_set("D:\\Data")]
    assert judge("d:/data/x", sets, ["C:\\", "D:\\"], 0).coverage is Coverage.COVERED
    assert judge("C:\\", sets, ["C:\\", "D:\\"], 0).coverage is Coverage.UNCOVERED
    assert judge("D:\\", sets, ["C:\\", "D:\\"], 0).coverage is Coverage.PARTLY
