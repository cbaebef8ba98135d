import os

from backstay.protocol.report import Outcome, Report


def test_whatever_a_name_is_made_of_can_be_told() -> None:
    """Names that are no UTF-8, and NUL, which PostgreSQL takes in no text, never keep an outcome back."""
    strange = os.fsdecode(b"a\xff") + "\0"
    outcome = Outcome(epoch=1, state="failed", reason=f"{strange} is gone", messages=[strange])
    told = Outcome.model_validate_json(outcome.model_dump_json())
    assert told.reason == "a\\udcff\N{REPLACEMENT CHARACTER} is gone"
    assert told == outcome
    report = Report(epoch=1, messages=[strange])
    assert Report.model_validate_json(report.model_dump_json()).messages == told.messages
