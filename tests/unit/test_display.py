"""Arguments as people are shown them: masked, short, and without running the code of others."""

import collections
import datetime
import decimal
import enum
import inspect
import time
import uuid

import pytest
from django.utils.functional import SimpleLazyObject
from hypothesis import given, strategies as st

from autotask import conf, display
from autotask.display import LONGEST, MASK
from autotask.texts.masks import Masks


def everything(a=None, *rest, password=None, **more):
    """Take arguments of every kind."""


def shown(*args, **kwargs):
    return display.arguments(inspect.signature(everything).bind(*args, **kwargs))


class Explosive:
    """Whatever is asked of it, but for its class, blows up."""

    def __repr__(self):
        raise AssertionError("its __repr__ was run")

    __str__ = __format__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __repr__

    def __getattr__(self, name):
        raise AssertionError(f"its {name} was asked for")


class ExplosiveInteger(int):
    __repr__ = __str__ = Explosive.__repr__


class ExplosiveText(str):
    __repr__ = __str__ = Explosive.__repr__


class ExplosiveList(list):
    __repr__ = __len__ = __iter__ = Explosive.__repr__


class ExplosiveDict(dict):
    __repr__ = __len__ = __iter__ = Explosive.__repr__


class ExplosiveMoment(datetime.datetime):
    __repr__ = __str__ = Explosive.__repr__


class Colour(enum.Enum):
    RED = 1

    def __repr__(self):
        raise AssertionError("its __repr__ was run")


class Field(enum.Enum):
    PASSWORD = 1
    USER = 2


class Row:
    """What a model instance looks like from here."""

    _meta = None

    def __init__(self, id):
        self.id = id

    __repr__ = Explosive.__repr__


class Slotted:
    __slots__ = ()
    _meta = None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (-1.5, "-1.5"),
        (True, "True"),
        (None, "None"),
        ("x", "'x'"),
        ("a'b\n", '"a\'b\\n"'),
        ([1, "x"], "[1, 'x']"),
        ((1,), "(1,)"),
        ({"x": 1}, "{'x': 1}"),
        (b"12345", "<5 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (datetime.date(2026, 7, 1), "datetime.date(2026, 7, 1)"),
        (decimal.Decimal("1.10"), "Decimal('1.10')"),
        (uuid.UUID(int=0), "UUID('00000000-0000-0000-0000-000000000000')"),
        (Colour.RED, "Colour.RED"),
        (Row(7), "<Row 7>"),
        (Row(None), "<Row>"),
        (Row("x" * 9), "<Row 'xxxxxxxxx'>"),
        (Slotted(), "<Slotted>"),
        (object(), "<object>"),
        (int, "<type>"),
    ],
)
def test_a_value_is_shown(value, text):
    assert shown(value) == f"a={text}"


def test_each_kind_of_parameter_is_shown_as_it_was_given():
    assert shown(1, 2, "x", y=3) == "a=1, 2, 'x', y=3"
    assert shown() == ""
    assert shown(y=1) == "y=1"


@pytest.mark.parametrize(
    "value",
    [
        Explosive(),
        ExplosiveInteger(5),
        ExplosiveText("x"),
        ExplosiveList([1]),
        ExplosiveDict(x=1),
        ExplosiveMoment(2026, 1, 1),
        [Explosive()],
        {"x": (Explosive(),)},
        {"x": {"y": [Explosive()]}},
        {ExplosiveText("x"): 1},
        {ExplosiveInteger(5)},
        Row(Explosive()),
        Row([Explosive()]),
        collections.namedtuple("Pair", "x y")(Explosive(), 1),
        collections.deque([Explosive()]),
        Explosive,
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_code_of_another_class_is_run(value):
    assert "Explosive" in (text := shown(value, value, value=value)) or "<" in text


@pytest.mark.parametrize(
    "name",
    ["password", "PASSWORD", "user_password", "api_key", "apikey", "X_Token_2", "client_secret", "Authorization",
     "private_key", "credentials"],
)  # fmt: skip
def test_an_argument_is_masked_by_its_name(name):
    assert shown(**{name: "hunter2"}) == f"{name}={MASK}"


#: Names of Django's own filter, of RFCs, of cards, and those that people write.
SECRET_NAMES = """
    password Password PASSWORD user_password userPassword user-password pass_word passwd db_passwd passphrase passcode
    pass db_pass DB_PASS dbPass db-pass pwd userPwd dbpwd token access_token accessToken accesstoken csrfmiddlewaretoken
    secret client_secret clientSecret SECRET_KEY api_key api-key apikey apiKey X-API-Key APIKey x_api_key API
    private-key PRIVATE-KEY privatekey private_key privateKey access_key accesskey encryption_key key keys signature X-Signature
    auth AUTH http_auth basic_auth oauth oauth2 authorization Authorization HTTP_AUTHORIZATION bearer bearer_token
    cookie Cookie set-cookie HTTP_COOKIE cookies session sessionid session_id sessionKey jwt jwt_token id_jwt otp
    otp_code totp pin PIN card_pin cardPin card-pin pins cvv CVV card_cvv cvc dsn SENTRY_DSN credentials
"""

HARMLESS_NAMES = """
    author authors authored monkey compass keyboard shipping spinner opinion pinned passenger passport passive bypass keynote
    turkey donkey hockey possession possessions obsession secretary option adoption footprint laptop hotpot rapid capital
    happy apiary primary_key primaryKey foreign_key sort_key cache_key public_key fields_name records_number hand_snapshot
    user name id url queue
"""


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_an_argument_or_key_is_masked_however_its_name_is_written(name):
    assert shown({name: "hunter2"}) == f"a={{{name!r}: {MASK}}}"
    assert shown((name, "hunter2")) == f"a=({name!r}, {MASK})"


@pytest.mark.parametrize("name", HARMLESS_NAMES.split())
def test_a_name_that_merely_has_the_letters_of_a_secret_is_shown(name):
    assert shown({name: "visible"}) == f"a={{{name!r}: 'visible'}}"
    assert "visible" in shown((name, "visible"))


@pytest.mark.parametrize(
    "value",
    [
        [("Authorization", "Bearer hunter2"), ("Accept", "hunter3")],
        [["Authorization", "Bearer hunter2"], ["Accept", "hunter3"]],
        {("password", "hunter2"), ("user", "hunter3")},
        {"headers": [(b"authorization", "hunter2"), (b"accept", "hunter3")]},
        {"headers": [{"name": "Authorization", "value": "hunter2"}, {"name": "Accept", "value": "hunter3"}]},
        [{"key": "DB_PASS", "value": "hunter2"}, {"name": "x", "value": "hunter3"}],
        ["mysqldump", "--password", "hunter2", "hunter3"],
        ["mysqldump", "--password=hunter2", "hunter3"],
        {Field.PASSWORD: "hunter2", Field.USER: "hunter3"},
    ],
)
def test_pairs_headers_and_command_lines_are_masked_by_what_names_them(value):
    text = shown(value)
    assert "hunter2" not in text and MASK in text and "hunter3" in text


def test_words_for_a_command_line_are_masked_also_as_arguments():
    assert shown(1, "--password", "hunter2", "x") == f"a=1, '--password', {MASK}, 'x'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"password": "hunter2", "user": "ann"}', '{"password": •••, "user": "ann"}'),
        ('{"pin": 1234, "user": "ann"}', '{"pin": •••, "user": "ann"}'),
        (r'{"x": "{\"password\": \"hunter2\", \"user\": 1}"}', r'{"x": "{\"password\": •••, \"user\": 1}"}'),
        (r'{"password": "hun\"ter2", "user": 1}', '{"password": •••, "user": 1}'),
        ('{"tokens": ["hunter2"], "user": 1}', '{"tokens": •••'),
        ("{'password': 'hunter2', 'user': 1}", "{'password': •••, 'user': 1}"),
        ('{"password": "hunter2 is cut', '{"password": •••'),
        ("postgres://ann:hunter2@db/shop", "postgres://ann:•••@db/shop"),
        ("see redis://:hunter2@db/0 and amqp://x:hunter2@q", "see redis://:•••@db/0 and amqp://x:•••@q"),
        ("https://ann:hunter@2@host:8080/x?y=1", "https://ann:•••@host:8080/x?y=1"),
        ("https://0123456789abcdef@sentry.io/5", "https://•••@sentry.io/5"),
        ("http://host:8080/users", "http://host:8080/users"),
        ("ssh://git@host/repository", "ssh://git@host/repository"),
        ("https://host/x?token=hunter2&page=2", "https://host/x?token=•••&page=2"),
        ("host=db password=hunter2 user=ann", "host=db password=••• user=ann"),
        ("host=db password='hunter 2' user=ann", "host=db password=••• user=ann"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=••• psql"),
        ("user[password]=hunter2&x=1", "user[password]=•••&x=1"),
        ("Authorization: Bearer hunter2\nAccept: x", "Authorization: •••\nAccept: x"),
        ("Cookie: a=hunter2; b=hunter2\nAccept: x", "Cookie: •••\nAccept: x"),
        ("curl -H Bearer hunter2.abc", "curl -H Bearer •••"),
        ("Basic YW5uOmh1bnRlcjI=", "Basic •••"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.hunter2", "•••"),
        ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----", "-----BEGIN •••-----END RSA PRIVATE KEY-----"),
        # And what is no secret
        ("author: ann, shipping: x", "author: ann, shipping: x"),
        ("Basic information of a bearer", "Basic information of a bearer"),
        ("at 10:30, x=1", "at 10:30, x=1"),
        ("", ""),
    ],
)  # fmt: skip
def test_secrets_within_a_text_are_masked(text, expected):
    masks = Masks(conf.settings.MASKED_ARGUMENTS)
    assert masks.text(text) == expected
    assert masks.suspect(text) or text == expected
    assert "hunter" not in shown(text) and "hunter" not in shown([{"x": text}])


@pytest.mark.parametrize("before", [0, 30, 60, 500, 5000, 9990, 20_000])
@pytest.mark.parametrize("after", [0, 30, 5000])
def test_a_secret_is_not_shown_wherever_in_a_long_text_it_is(before, after):
    for secret in (
        "postgres://x:hunter2@db",
        "password=hunter2",
        '"password": "hunter2"',
        "password=" + "hunter2" * 2000,
    ):
        assert "hunter2" not in shown("x " * (before // 2) + secret + " x" * (after // 2))


HEAVY = {
    "letters": "a" * 10**6,
    "dashes": "-" * 10**6,
    **{
        part: part * 10**5
        for part in ("a=", "a://", "a.b-c", '\\"', "password:", "eyJ", "eyJ-", "://:", "Bearer ", "-----BEGIN ")
    },
    "texts": ["x=1 " * 10**5] * 10**5,
    "texts in lists": [[[[["x=1 " * 2000] * 6] * 6] * 6] * 6] * 6,
    "key": {"k" * 10**6: 1},
    "keys": {f"password{n}": n for n in range(10**5)},
}


def test_after_many_long_texts_no_other_one_is_shown():
    text = "password=hunter2 " + "x=1 " * 2000
    assert shown([[[text] * 6] * 6, [["password=hunter2"]]]).count("hunter2") == 0
    assert shown("next") == "a='next'"


@pytest.mark.parametrize("name", HEAVY)
def test_what_it_costs_to_look_for_secrets_is_bounded(name):
    value = HEAVY[name]
    began = time.process_time()
    shown(value)
    assert time.process_time() - began < 0.25


def test_a_named_parameter_is_masked_also_when_given_by_position():
    def login(user, password, *tokens, **more): ...

    bound = inspect.signature(login).bind("ann", "hunter2")
    assert display.arguments(bound) == f"user='ann', password={MASK}"


@pytest.mark.parametrize(
    "values", [(), (5,), (-5, 7), (True, 1), (10**39, 1), (10**90,), (-(10**17), 10**5000), ("x", 1), (1.5,), (1, None)]
)
def test_arguments_by_position_are_shown_as_those_that_are_bound(values):
    def move(number=0, to=0): ...

    expected = display.arguments(inspect.signature(move).bind(*values))
    assert display.Positional(("number", "to")).shown(values) == expected


def test_a_number_by_position_is_masked_by_the_name_of_its_parameter():
    assert display.Positional(("user", "password")).shown((1, 2)) == f"user=1, password={MASK}"


def test_what_is_collected_under_a_secret_name_is_masked():
    def f(*tokens, **passwords): ...

    text = display.arguments(inspect.signature(f).bind("hunter2", "hunter3", ann="hunter4"))
    assert "hunter" not in text


def test_keys_of_dicts_are_masked_at_every_depth():
    text = shown([{"x": {"password": "hunter2", "user": "ann"}}], y=({"Token": b"hunter2"},))
    assert "hunter2" not in text
    assert "'ann'" in text
    assert text.count(MASK) == 2


def test_a_secret_below_the_depth_that_is_shown_is_not_shown():
    value = {"password": "hunter2"}
    for _ in range(20):
        value = [value]
        assert "hunter2" not in shown(value)


def test_keys_that_are_bytes_or_text_of_another_class_are_masked_too():
    assert "hunter2" not in shown({b"password": "hunter2"})
    assert "hunter2" not in shown({ExplosiveText("password"): "hunter2"})


def test_other_words_can_be_masked(settings):
    settings.AUTOTASK_MASKED_ARGUMENTS = ["IBAN"]
    assert shown(iban="DE02", my_iban_2="DE03", password="shown") == f"password='shown', iban={MASK}, my_iban_2={MASK}"


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        [1] * 1_000_000,
        {n: n for n in range(100_000)},
        10**4000,
        ["x" * 10_000] * 6,
        {"y" * 9999: "x" * 9999},
    ],
    ids=["text", "list", "dict", "number", "texts in a list", "texts in a dict"],
)
def test_large_values_are_cut_off(value):
    assert len(shown(value)) <= LONGEST
    assert len(shown(*[value] * 20, **{f"k{n}": value for n in range(20)})) <= LONGEST


def test_a_number_too_long_to_be_written_out_is_shown_somehow():
    assert shown(10**5000).startswith("a=")
    assert shown(decimal.Decimal(10) ** 400).startswith("a=")


def test_many_arguments_end_in_an_ellipsis():
    text = shown(*range(1000))
    assert len(text) == LONGEST
    assert text.endswith("…")


def test_a_circle_comes_to_an_end():
    circle = []
    circle.append(circle)
    mapping = {}
    mapping["x"] = mapping
    assert len(shown(circle, mapping)) < LONGEST


@given(
    st.recursive(
        st.text() | st.integers() | st.floats() | st.binary() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_plain_value_is_shown_within_the_length(value):
    assert len(shown(value, x=value)) <= LONGEST


def test_a_lazy_object_is_not_fetched():
    def fetch():
        raise AssertionError("it was fetched")

    assert shown(SimpleLazyObject(fetch), [SimpleLazyObject(fetch)]) == "a=<SimpleLazyObject>, [<SimpleLazyObject>]"


def test_json_is_masked_by_names_and_within_texts():
    given = {
        "campaign": 7,
        "token": {"a": [1]},
        "list": [{"api_key": "k", "name": "ann"}, None, 1.5, True],
        "address": "https://ann:s3cret@example.org/",
        "long": "x" * 20_000,
    }
    assert display.masked_values(given) == {
        "campaign": 7,
        "token": MASK,
        "list": [{"api_key": MASK, "name": "ann"}, None, 1.5, True],
        "address": f"https://ann:{MASK}@example.org/",
        "long": MASK,
    }
