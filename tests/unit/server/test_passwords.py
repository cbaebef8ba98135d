"""Passwords as they are kept, with the real cost of a hash."""

import time

from backstay.server import passwords


def test_only_the_right_password_opens() -> None:
    """Another one does not; letters that look the same are the same, however they are composed."""
    kept = passwords.hashed("Grüße aus Köln")
    assert passwords.verified("Gru\u0308ße aus Ko\u0308ln", kept)
    assert not passwords.verified("Grüße aus Kiel", kept)
    assert not passwords.verified("", "")
    assert not passwords.verified("x", "no hash at all")


def test_a_hash_is_dear() -> None:
    """Argon2id with 64 MiB and three passes (RFC 9106, 4), a salt of its own for each."""
    kept = passwords.hashed("the same")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,")
    assert passwords.hashed("the same") != kept


def test_an_unknown_name_takes_as_long() -> None:
    """Where nothing was kept, a password is hashed all the same: the time tells no names."""

    def fastest(kept: str | None) -> float:
        times = []
        for _ in range(4):
            started = time.process_time()
            passwords.verified("wrong", kept)
            times.append(time.process_time() - started)
        return min(times[1:])

    known, unknown = fastest(passwords.hashed("something")), fastest(None)
    assert 0.5 < unknown / known < 2


def test_generated_passwords_are_good_ones() -> None:
    """They pass the rules for any name, and no two are the same."""
    made = {passwords.generate() for _ in range(50)}
    assert len(made) == 50
    for one in made:
        passwords.check_rules(one, "admin")
