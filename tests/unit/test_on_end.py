"""The options for notices: what is accepted, what is refused where it is written, and how it is stored."""

import json

import pytest

from autotask import on_end
from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.on_end import MOST_ADDRESSES, MOST_WEBHOOKS, NoticeState, Webhook
from autotask.options import Options
from autotask.task import CANCELLED, DONE, ERROR, RUNNING

HERE = "@delayed_task of shop.tasks.send"

A, B = Webhook("https://a.example/1"), Webhook("http://b.example:8080/2?x=1", ("error",), "BILLING_SECRET")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"email": "a@b.example"}, ("a@b.example",)),
        ({"email": ["a@b.example", "c@d.example", "a@b.example"]}, ("a@b.example", "c@d.example")),
        ({"email": []}, None),
        ({"on_end": A}, (A,)),
        ({"on_end": [A, B]}, (A, B)),
        ({"on_end": ()}, None),
    ],
)
def test_one_or_several_are_accepted(given, kept):
    ((name, _),) = given.items()
    assert getattr(Options.of(HERE, **given), name) == kept


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("email", value) for value in (5, True, b"a@b.example", {"a@b.example"}, ["a@b.example", 5], [None])],
        *[("on_end", value) for value in ("https://a.example", 5, ["https://a.example"], {A}, [A, None])],
    ],
)
def test_a_value_of_another_type_is_refused(name, value):
    with pytest.raises(InvalidOptionType, match=name):
        Options.of(HERE, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("email", "a@b.example\nBcc: c@d.example"),
        ("email", "a@b.example\r"),
        ("email", [f"a{number}@b.example" for number in range(MOST_ADDRESSES + 1)]),
        ("on_end", [A, Webhook("https://a.example/1", ["done"])]),
        ("on_end", [Webhook(f"https://a.example/{number}") for number in range(MOST_WEBHOOKS + 1)]),
    ],
)
def test_a_value_that_cannot_be_is_refused(name, value):
    with pytest.raises(InvalidOption, match=name):
        Options.of(HERE, **{name: value})


@pytest.mark.parametrize(
    "url",
    [
        *("", "a.example", "//a.example", "ftp://a.example", "https://", "https:///path", "file:///etc/passwd"),
        *("https://user:secret@a.example", "https://a.example/ b", "https://a.example/\n", "https://a.example:x/"),
        *(
            "https://a.example:99999/",
            "https://ä.example/",
            "https://a.example/#part",
            "https://a.example/" + 2000 * "x",
        ),
    ],
)
def test_what_is_no_address_of_a_webhook_is_refused(url):
    with pytest.raises(InvalidOption, match="url"):
        Webhook(url)


def test_other_values_of_a_webhook_are_refused_and_a_secret_in_the_wrong_place_is_not_shown():
    for url in (5, None, b"https://a.example"):
        with pytest.raises(InvalidOptionType, match="url"):
            Webhook(url)
    for events in ("done", [], {"done"}, 5):
        with pytest.raises(InvalidOptionType, match="events"):
            Webhook("https://a.example", events)
    with pytest.raises(InvalidOption, match="events"):
        Webhook("https://a.example", ["finished"])
    with pytest.raises(InvalidOption, match="the name of a setting") as caught:
        Webhook("https://a.example", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert "MfKQ" not in str(caught.value)


def test_the_events_have_one_order():
    assert Webhook("https://a.example", ["cancelled", "done", "done"]).events == ("done", "cancelled")


def test_nobody_to_notify_is_stored_as_nothing():
    assert on_end.stored(None, None) is on_end.stored((), ()) is None
    assert on_end.notices(None, None, DONE) == []


def test_what_is_stored_says_the_same_again():
    stored = on_end.stored(("a@b.example",), (A, B))

    mail, first, second = on_end.notices(stored, None, RUNNING)

    assert (mail.to, mail.webhook, first.webhook, second.webhook) == ("a@b.example", None, A, B)
    assert {notice.state for notice in (mail, first, second)} == {NoticeState.PLANNED}


def test_an_end_is_sent_to_those_who_want_it():
    stored = on_end.stored(("a@b.example",), (A, B))

    def states(status):
        return [notice.state.value for notice in on_end.notices(stored, None, status)]

    assert states(DONE) == ["waiting", "waiting", "not needed"]
    assert states(ERROR) == ["waiting", "waiting", "waiting"]
    assert states(CANCELLED) == ["waiting", "waiting", "not needed"]


def test_the_record_of_a_notice_is_found_again():
    stored = on_end.stored(("a@b.example", "c@d.example"), None)
    (first, second) = on_end.notices(stored, None, DONE)
    tried = first._replace(state=NoticeState.GIVEN_UP, tries=3, at="2026-11-29T08:30:00+00:00", error="no")

    so_far = json.dumps({"delivery": "…", "of": {tried.key: tried.record}})

    assert on_end.notices(stored, so_far, DONE) == [tried, second]
    assert tried.in_words == "mail to a@b.example: given up, 3 tries: no"
    assert second.in_words == "mail to c@d.example: waiting"
