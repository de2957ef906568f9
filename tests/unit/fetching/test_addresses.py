"""Addresses to which no request may go, in all the forms that they have."""

import pytest

from autotask.fetching.addresses import why_refused
from autotask.fetching.hosts import Trust

PUBLIC = ["93.184.215.14", "2606:4700::1111", "64:ff9b::5db8:d70e"]
OWN_NETWORK = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00::1", "::1", "::ffff:10.0.0.1"]
NEVER = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "168.63.129.16",
    "fe80::1",
    "64:ff9b:1::1",
    "224.0.0.1",
    "ff02::1",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "255.255.255.255",
    "240.0.0.1",
]


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("trust", Trust)
def test_a_public_address_is_accepted(address, trust):
    assert why_refused(address, trust) == ""


@pytest.mark.parametrize("address", [*OWN_NETWORK, "fec0::1", "2002:0a00:0001::1", "64:ff9b::a00:1"])
def test_a_wildcard_trusts_nothing_but_public_addresses(address):
    assert "not public" in why_refused(address, Trust.PUBLIC)


@pytest.mark.parametrize("address", OWN_NETWORK)
def test_a_name_in_the_list_may_be_in_the_own_network(address):
    assert why_refused(address, Trust.INTERNAL) == ""


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("trust", [Trust.PUBLIC, Trust.INTERNAL])
def test_no_name_may_lead_to_metadata_or_multicast(address, trust):
    assert "metadata" in why_refused(address, trust)


@pytest.mark.parametrize("address", [*OWN_NETWORK, *NEVER])
def test_an_address_in_the_list_is_meant(address):
    assert why_refused(address, Trust.ANY) == ""
