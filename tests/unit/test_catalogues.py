"""Each text of autotask is in the catalogues of all languages, translated as a whole and compiled."""

import gettext
import re

import pytest

from tests.catalogues import LANGUAGES, LOCALE, Entry, catalogue, in_source

#: Placeholders and markup.
SAME = (r"%\(\w+\)\.?\d*[a-z]|%%", r"</?\w+>")

each_language = pytest.mark.parametrize("language", LANGUAGES)


def test_there_are_german_and_spanish():
    assert LANGUAGES == ["de", "es"]


@each_language
def test_the_texts_of_the_catalogue_are_those_of_the_source(language):
    # If this fails: cd autotask && django-admin makemessages -l de -l es --no-location --no-obsolete, translate, and compilemessages
    _, *entries = catalogue(language)
    keys = {entry.key for entry in entries}
    source = in_source()
    assert len(entries) == len(keys) > 400
    assert (sorted(source - keys, key=str), sorted(keys - source, key=str)) == ([], [])


@each_language
def test_each_text_is_translated(language):
    header, *entries = catalogue(language)
    assert f"Language: {language}\n" in header.translations[0]
    assert [
        entry.key for entry in entries if not all(entry.translations) or "fuzzy" in entry.flags | header.flags
    ] == []
    assert [entry.key for entry in entries if len(entry.translations) != (1 if entry.plural is None else 2)] == []


@each_language
def test_translations_have_the_same_placeholders(language):
    assert [problem for entry in catalogue(language)[1:] for problem in differences(entry)] == []


@each_language
def test_the_compiled_catalogue_is_that_of_the_text(language):
    # If this fails: cd autotask && django-admin compilemessages
    with (LOCALE / language / "LC_MESSAGES" / "django.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog
    expected: dict[object, str] = {}
    for entry in catalogue(language)[1:]:
        name = entry.singular if entry.context is None else f"{entry.context}\x04{entry.singular}"
        if entry.plural is None:
            expected[name] = entry.translations[0]
        else:
            expected |= {(name, number): text for number, text in enumerate(entry.translations)}
    assert {key: text for key, text in compiled.items() if key} == expected


def test_a_missing_placeholder_a_full_stop_and_markup_are_noticed():
    assert list(differences(Entry(singular="%(number)d s", translations=["s"])))
    assert list(differences(Entry(singular="It ends.", translations=["Ende"])))
    assert list(differences(Entry(singular="<b>x</b>", translations=["x"])))
    assert not list(differences(Entry(singular="%(a)s of <b>x</b>.", translations=["<b>x</b>: %(a)s."])))


def differences(entry: Entry):
    """Yield what a translation lacks or has in addition: placeholders, markup, and the full stop of a sentence."""
    for number, translation in enumerate(entry.translations):
        source = entry.plural if number and entry.plural is not None else entry.singular
        same = all(sorted(re.findall(each, source)) == sorted(re.findall(each, translation)) for each in SAME)
        # The other way round it may be an abbreviation: Std., T.
        if not same or (source[-1] in ".…:" and source[-1] != translation[-1]):
            yield f"{source!r}: {translation!r}"
