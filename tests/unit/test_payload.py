"""Arguments and results as signed pickles: nothing unsigned, altered, moved or retired is ever unpickled."""

import datetime
import decimal
import enum
import hashlib
import hmac
import pickle
import uuid
import zlib

import pytest
from hypothesis import given, strategies as st

from autotask import payload, seals, signing
from autotask.exceptions import (
    InvalidSetting,
    PayloadRefused,
    PayloadTooLarge,
    PayloadTooNew,
    UnpicklableArgument,
    UnpicklableResult,
)
from autotask.payload import dump_arguments, dump_result, load_arguments, load_result
from autotask.texts.lines import describe

ID = uuid.UUID("01890000-0000-7000-8000-000000000001")
OTHER_ID = uuid.UUID("01890000-0000-7000-8000-000000000002")
NAME = "shop.tasks.send"

#: Bytes before the body: magic 2, version, codec, flags, key id 4, MAC 16.
HEAD = 2 + 3 + 4 + 16


class Canary:
    """Notes each time that one is made by unpickling."""

    made = 0

    def __reduce__(self):
        return _make_canary, ()


def _make_canary():
    Canary.made += 1
    return Canary()


@pytest.fixture(autouse=True)
def no_canary_yet():
    Canary.made = 0


def sealed(*args, id=ID, name=NAME, **kwargs):
    return dump_arguments(args, kwargs, id=id, name=name)


def refusal_of(envelope, *, id=ID, name=NAME):
    """Return the error with which an envelope is refused, having made sure that nothing was unpickled."""
    with pytest.raises(PayloadRefused) as caught:
        load_arguments(envelope, id=id, name=name)
    assert Canary.made == 0
    return caught.value


# --- there and back -------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.datetimes()
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(st.lists(VALUES), st.dictionaries(st.text(min_size=1), VALUES), st.uuids(), st.text(min_size=1))
def test_arguments_come_back_as_they_were(args, kwargs, id, name):
    envelope = dump_arguments(tuple(args), kwargs, id=id, name=name)
    assert load_arguments(envelope, id=id, name=name) == (tuple(args), kwargs)


@given(VALUES, st.uuids(), st.integers(0, 2**63 - 1))
def test_a_result_comes_back_as_it_was(value, id, fence):
    envelope = dump_result(value, id=id, fence=fence, name=NAME)
    assert load_result(envelope, id=id, fence=fence) == value


def test_no_result_needs_no_envelope():
    assert dump_result(None, id=ID, fence=1, name=NAME) is None
    assert load_result(None, id=ID, fence=1) is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_an_envelope_is_read_in_whatever_form_the_driver_hands_it_out(kind):
    assert load_arguments(kind(sealed(1, x=2)), id=ID, name=NAME) == ((1,), {"x": 2})


def test_an_intact_envelope_is_unpickled():
    load_arguments(sealed(Canary()), id=ID, name=NAME)
    assert Canary.made == 1, "without this, the canary proves nothing below"


# --- what is not ours -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_anywhere_is_refused(bit):
    envelope = sealed(Canary(), x=1)
    for position in range(len(envelope)):
        altered = bytearray(envelope)
        altered[position] ^= 1 << bit
        refusal_of(bytes(altered))


def test_a_truncated_envelope_is_refused_at_every_length():
    envelope = sealed(Canary())
    for length in range(len(envelope)):
        refusal_of(envelope[:length])


@pytest.mark.parametrize("more", [b"\0", b"x" * 1000])
def test_a_lengthened_envelope_is_refused(more):
    refusal_of(sealed(Canary()) + more)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data):
    refusal_of(data)
    refusal_of(b"AT\x01\x01\x00" + data)


def test_a_bare_pickle_is_refused():
    assert "is not a payload of autotask" in str(refusal_of(pickle.dumps((Canary(),))))


def test_the_envelope_of_another_task_is_refused():
    assert "belongs to another task" in str(refusal_of(sealed(Canary()), id=OTHER_ID))


@pytest.mark.parametrize("name", ["shop.tasks.refund", "", NAME + "\0", NAME[:-1], NAME.upper()])
def test_the_envelope_of_another_function_is_refused(name):
    assert "belongs to another task" in str(refusal_of(sealed(Canary()), name=name))


def test_bytes_cannot_be_shifted_between_name_and_body():
    # Given the end of the name at the beginning of the body: what is signed would be the same, put end to end
    envelope = sealed(Canary())
    for count in range(1, len(NAME) + 1):
        shifted = envelope[:HEAD] + NAME[-count:].encode() + envelope[HEAD:]
        refusal_of(shifted, name=NAME[:-count])


def test_the_result_of_another_attempt_is_refused():
    envelope = dump_result(Canary(), id=ID, fence=7, name=NAME)
    for id, fence in [(ID, 8), (ID, 0), (OTHER_ID, 7), (ID, 7 * 256)]:
        with pytest.raises(PayloadRefused):
            load_result(envelope, id=id, fence=fence)
    assert Canary.made == 0


def test_a_result_is_refused_as_arguments_and_arguments_as_a_result():
    with pytest.raises(PayloadRefused):
        load_result(sealed(Canary()), id=ID, fence=1)
    refusal_of(dump_result(((Canary(),), {}), id=ID, fence=1, name=NAME))


@pytest.mark.parametrize(
    ("position", "value", "told"),
    [
        (2, 2, "version 2, codec 1, flags 0"),
        (2, 0, "version 0"),
        (2, 255, "version 255"),
        (3, 2, "codec 2"),
        (4, 8, "flags 8"),
    ],
)
def test_a_form_that_is_not_known_is_told_apart_from_an_altered_one(position, value, told):
    envelope = bytearray(sealed(Canary()))
    envelope[position] = value
    error = refusal_of(bytes(envelope))
    assert type(error) is PayloadTooNew
    assert told in str(error)
    assert str(ID) in str(error)


def test_what_is_merely_altered_is_not_taken_for_newer():
    assert type(refusal_of(b"XX" + sealed(Canary())[2:])) is PayloadRefused


def test_a_compressed_bomb_is_not_unpacked():
    bomb = zlib.compress(b"\0" * 50_000_000)
    refusal_of(sealed(1)[:HEAD] + bomb)


def test_the_same_envelope_is_not_made_for_two_tasks():
    assert sealed(1)[9:HEAD] != sealed(1, id=OTHER_ID)[9:HEAD] != sealed(1, name="x")[9:HEAD]


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_key_of_another_site_is_refused_and_the_message_tells_what_to_do(settings):
    # Given
    settings.SECRET_KEY = "old"
    envelope = sealed(Canary())

    # When
    settings.SECRET_KEY = "new"

    # Then
    assert "add the old one to SECRET_KEY_FALLBACKS" in str(refusal_of(envelope))


def test_the_secret_key_can_be_rotated(settings):
    # Given
    settings.SECRET_KEY = "old"
    envelope = sealed("x")

    # When, then: new key with the old one as a fallback, in any place
    settings.SECRET_KEY = "new"
    settings.SECRET_KEY_FALLBACKS = ["older", "old"]
    assert load_arguments(envelope, id=ID, name=NAME) == (("x",), {})
    newer = sealed("y")

    # And at last without it
    settings.SECRET_KEY_FALLBACKS = []
    assert load_arguments(newer, id=ID, name=NAME) == (("y",), {})
    refusal_of(envelope)


def test_a_worker_that_has_the_new_key_as_a_fallback_reads_what_a_newer_process_wrote(settings):
    settings.SECRET_KEY = "new"
    envelope = sealed("x")
    settings.SECRET_KEY = "old"
    settings.SECRET_KEY_FALLBACKS = ["new"]
    assert load_arguments(envelope, id=ID, name=NAME) == (("x",), {})


def test_the_signing_key_can_be_rotated(settings):
    settings.AUTOTASK_SIGNING_KEY = "old"
    envelope = sealed("x")
    settings.AUTOTASK_SIGNING_KEY = "new"
    refusal_of(envelope)
    settings.AUTOTASK_SIGNING_KEY_FALLBACKS = ["old"]
    assert load_arguments(envelope, id=ID, name=NAME) == (("x",), {})
    settings.AUTOTASK_SIGNING_KEY_FALLBACKS = []
    refusal_of(envelope)


def test_with_a_signing_key_of_its_own_the_secret_key_signs_nothing_any_more(settings):
    # Given what was signed with the secret key, which may have leaked
    settings.SECRET_KEY = "leaked"
    settings.SECRET_KEY_FALLBACKS = ["leaked, too"]
    envelope = sealed(Canary())

    # When
    settings.AUTOTASK_SIGNING_KEY = "own"

    # Then
    refusal_of(envelope)
    settings.SECRET_KEY = "other"
    settings.SECRET_KEY_FALLBACKS = ["leaked"]
    refusal_of(envelope)

    # And the site can say otherwise
    settings.AUTOTASK_SIGNING_KEY_FALLBACKS = ["leaked"]
    load_arguments(envelope, id=ID, name=NAME)
    assert Canary.made == 1


@pytest.mark.parametrize("blank", ["", " ", "\n", "\u200b", b"", b"\t"])
def test_nobody_can_sign_with_a_blank_fallback(settings, monkeypatch, blank):
    # Given what somebody has signed with nothing
    with monkeypatch.context() as patched:
        patched.setattr(signing, "is_secret", lambda _: True)
        patched.setattr(payload, "current_secret", lambda: blank)
        envelope = sealed(Canary())
        signing.key_of.cache_clear()
        payload._plain_signer.cache_clear()

    # When
    settings.SECRET_KEY_FALLBACKS = [blank, "older"]

    # Then, and the other fallbacks are keys still
    refusal_of(envelope)
    settings.SECRET_KEY, present = "older", settings.SECRET_KEY
    envelope = sealed("x")
    settings.SECRET_KEY = present
    assert load_arguments(envelope, id=ID, name=NAME) == (("x",), {})


def test_an_entry_among_the_fallbacks_that_is_missing_is_no_key(settings):
    settings.SECRET_KEY_FALLBACKS = [None]
    with pytest.raises(PayloadRefused):
        load_arguments(signed_with_another_key(settings), id=ID, name=NAME)


def signed_with_another_key(settings):
    present, settings.SECRET_KEY = settings.SECRET_KEY, "another"
    try:
        return sealed("x")
    finally:
        settings.SECRET_KEY = present


@pytest.mark.parametrize("blank", [" ", "\n\t", "\u200b"])
def test_without_a_key_nothing_is_signed_and_the_error_says_which_is_missing(settings, blank):
    settings.SECRET_KEY = blank
    with pytest.raises(
        InvalidSetting, match="SECRET_KEY must be a string that is not empty or blank, but is "
    ) as caught:
        sealed("x")
    assert repr(blank) in str(caught.value)


def test_a_key_of_another_type_is_refused_and_not_shown(settings):
    settings.SECRET_KEY = 31415926
    with pytest.raises(InvalidSetting, match="SECRET_KEY must be a string that is not empty or blank") as caught:
        sealed("x")
    assert "31415926" not in str(caught.value)


def test_a_key_may_be_bytes(settings):
    settings.AUTOTASK_SIGNING_KEY = b"\xff\x00\xfe"
    assert load_arguments(sealed("x"), id=ID, name=NAME) == (("x",), {})


def test_neither_key_nor_arguments_are_in_the_message_of_a_refusal(settings):
    settings.SECRET_KEY = "very-secret-key"
    envelope = bytearray(sealed("very-secret-argument"))
    envelope[-1] ^= 1
    told = str(refusal_of(bytes(envelope)))
    assert "very-secret" not in told


def test_keys_with_the_same_id_are_told_apart_by_their_signature(settings, monkeypatch):
    monkeypatch.setattr(payload, "key_of", lambda secret: signing.key_of(secret)._replace(id=b"same"))
    monkeypatch.setattr(seals, "key_of", payload.key_of)
    settings.SECRET_KEY = "old"
    envelope = sealed("x")
    settings.SECRET_KEY = "new"
    settings.SECRET_KEY_FALLBACKS = ["old"]
    payload._plain_signer.cache_clear()
    assert load_arguments(envelope, id=ID, name=NAME) == (("x",), {})


def test_a_key_makes_the_first_half_of_the_hmac_of_rfc_2104():
    # Given the key that the documentation describes, and the standard library
    key = hashlib.sha256(b"autotask.payload.v1\0" + b"a secret").digest()
    for message in (b"", b"x", bytes(1000)):
        assert signing.key_of("a secret").sign(message) == hmac.digest(key, message, "sha256")[:16]


@pytest.mark.parametrize("tells", [False, True])
@pytest.mark.parametrize("carried", [None, {"a.carrier": "de"}], ids=["plain", "carried"])
@pytest.mark.parametrize("value", [1, [1]], ids=["leaf", "parts"])
def test_the_mac_covers_all_other_bytes_id_and_name(settings, tells, carried, value):
    envelope = payload.dump_arguments((value,), {}, id=ID, name=NAME, carried=carried, tells=tells)
    context = b"task\0" + ID.bytes + NAME.encode()
    signed = envelope[:9] + len(context).to_bytes(4, "big") + context + envelope[HEAD:]
    key = hashlib.sha256(b"autotask.payload.v1\0" + settings.SECRET_KEY.encode()).digest()
    assert envelope[9:HEAD] == hmac.digest(key, signed, "sha256")[:16]


# --- what cannot be pickled -----------------------------------------------------------------------------------------


class Stubborn:
    """Raises whatever it is told to when pickled."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class Nested:
    def __init__(self, **parts):
        self.__dict__.update(parts)


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def a_function():
    return lambda: None


@pytest.mark.parametrize(
    ("args", "kwargs", "path"),
    [
        ((1, a_function()), {}, "args[1]"),
        ((), {"callback": a_function()}, "callback"),
        (({"rows": [1, a_function()]},), {}, "args[0]['rows'][1]"),
        ((Nested(left=1, right={"x": (a_function(),)}),), {}, "args[0].right['x'][0]"),
        ((), {"x": [[[a_function()]]]}, "x[0][0][0]"),
        (({a_function()},), {}, "args[0][0]"),
        (({a_function(): 1},), {}, "args[0]"),
        ((Stubborn(ValueError("no")),), {}, "args[0]"),
        (((i for i in ()),), {}, "args[0]"),
        ((open,), {"file": memoryview(b"")}, "file"),
    ],
)
def test_an_argument_that_cannot_be_pickled_is_named_by_function_and_path(args, kwargs, path):
    with pytest.raises(UnpicklableArgument) as caught:
        sealed(*args, **kwargs)
    assert isinstance(caught.value, TypeError)
    assert f"The argument {path} of {NAME} cannot be pickled: " in str(caught.value)
    assert "Nothing was enqueued" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("not me"), "ValueError: not me"),
        (KeyError(), "KeyError"),
        (RecursionError("deep"), "RecursionError: deep"),
        (Speechless(), "Speechless: (its text cannot be shown: __str__ raised RuntimeError)"),
    ],
)
def test_whatever_reduce_raises_is_the_reason(error, told):
    with pytest.raises(UnpicklableArgument) as caught:
        sealed(Stubborn(error))
    assert f"cannot be pickled: {told}." in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_while_pickling_is_passed_on(error):
    with pytest.raises(error):
        sealed(Stubborn(error()))


def test_endless_and_circular_arguments_come_to_an_end():
    # Given
    circle = []
    circle.append(circle)
    deep = []
    for _ in range(100_000):
        deep = [deep]

    # Then a circle can be pickled
    ((again,), _) = load_arguments(sealed(circle), id=ID, name=NAME)
    assert again[0] is again

    # And what is too deep is refused
    with pytest.raises(UnpicklableArgument, match=r"The argument args\[0\].* cannot be pickled: RecursionError"):
        sealed(deep)


def test_a_circle_with_something_in_it_that_cannot_be_pickled_comes_to_an_end():
    circle = [a_function()]
    circle.insert(0, circle)
    with pytest.raises(UnpicklableArgument, match=r"The argument args\[0\]"):
        sealed(circle)


@pytest.mark.parametrize("value", [a_function(), Stubborn(ValueError("no")), Stubborn(Speechless())])
def test_a_result_that_cannot_be_pickled_is_told_apart(value):
    with pytest.raises(UnpicklableResult, match=f"The result of {NAME} cannot be pickled: "):
        dump_result(value, id=ID, fence=1, name=NAME)


# --- size -----------------------------------------------------------------------------------------------------------


def test_arguments_may_be_as_large_as_the_limit_and_not_a_byte_larger(settings):
    # Given
    settings.AUTOTASK_MAX_PAYLOAD = 5000
    overhead = len(pickle.dumps(((b"x" * 4000,), {}), 5)) - 4000

    # When, then
    assert sealed(b"x" * (5000 - overhead))
    with pytest.raises(PayloadTooLarge) as caught:
        sealed(b"x" * (5001 - overhead))
    assert str(caught.value).startswith(
        f"The arguments of {NAME} take 5001 bytes when pickled, more than the limit of 5000"
    )
    assert isinstance(caught.value, ValueError)


def test_a_result_has_the_same_limit(settings):
    settings.AUTOTASK_MAX_PAYLOAD = 5000
    with pytest.raises(PayloadTooLarge, match=f"The results of {NAME} take .*AUTOTASK_MAX_PAYLOAD"):
        dump_result(b"x" * 5000, id=ID, fence=1, name=NAME)


# --- exceptions as text ---------------------------------------------------------------------------------------------


class Rude(Exception):
    def __str__(self):
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "KeyError: 'x'"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Speechless(), "Speechless: (its text cannot be shown: __str__ raised RuntimeError)"),
        (Rude(), "Rude: (its text cannot be shown: __str__ raised SystemExit)"),
    ],
)
def test_an_exception_is_described_whatever_its_text_does(error, text):
    assert describe(error) == text


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        datetime.timedelta(days=1),
        decimal.Decimal("1.10"),
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    ],
)
def test_common_values_keep_their_type(value):
    ((again,), _) = load_arguments(sealed(value), id=ID, name=NAME)
    assert again == value
    assert type(again) is type(value)


# --- for another task -----------------------------------------------------------------------------------------------


def test_arguments_can_be_signed_for_another_task_of_the_same_name():
    envelope = dump_arguments((1,), {"b": 2}, id=ID, name=NAME, carried={"path": 1})
    other = payload.readdress_arguments(envelope, id=ID, to=OTHER_ID, name=NAME)
    assert load_arguments(other, id=OTHER_ID, name=NAME) == ((1,), {"b": 2})
    assert payload.load_carried(other, id=OTHER_ID, name=NAME) == {"path": 1}
    with pytest.raises(PayloadRefused):
        load_arguments(other, id=ID, name=NAME)
    with pytest.raises(PayloadRefused):
        payload.readdress_arguments(envelope, id=OTHER_ID, to=ID, name=NAME)
