# SPDX-License-Identifier: Apache-2.0
"""API keys: only hashes are stored, roles decide, and no key crosses a network in the clear."""

import hashlib

import pytest

from attestation.errors import Reason, SealbidError, SettingsError
from attestation.rpc.auth import APIKeys, Role, bearer, channel_tls, is_loopback, new_api_key, server_tls
from tests.support.worlds import Entropy

KEY, DIGEST = new_api_key(Entropy())


def keys_file(name: str = "provider-a", digest: str = DIGEST, roles: str = '["provider"]') -> bytes:
    return f'[[key]]\nname = "{name}"\nsha256 = "{digest}"\nroles = {roles}\n'.encode()


def test_a_key_finds_its_account_by_hash_alone() -> None:
    """The file holds the key's SHA-256, never the key; the right key finds name and roles, any other nothing."""
    assert KEY.startswith("sbk_")
    assert hashlib.sha256(KEY.encode()).hexdigest() == DIGEST
    data = keys_file(roles='["provider", "operator"]')
    assert KEY.encode() not in data
    found = APIKeys.from_toml(data).authenticate(bearer(KEY))
    assert (found.name, found.roles) == ("provider-a", frozenset({Role.PROVIDER, Role.OPERATOR}))


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "Bearer sbk_wrong"),),
        (("authorization", KEY),),
        (("authorization", f"Basic {KEY}"),),
        (("authorization", f"Bearer {KEY}".encode()),),
        (*bearer(KEY), *bearer(KEY)),
        (("authorization", "Bearer " + "x" * 100_000),),
    ],
)
def test_anything_else_is_unauthenticated(metadata: tuple[tuple[str, object], ...]) -> None:
    """No key, a wrong, doubled, mistyped or oversized one: UNAUTHENTICATED, and the text does not repeat it."""
    with pytest.raises(SealbidError) as refused:
        APIKeys.from_toml(keys_file()).authenticate(metadata)
    assert refused.value.reason is Reason.UNAUTHENTICATED
    assert "sbk_" not in refused.value.message


def test_roles_are_required_by_name() -> None:
    """A credential without a wanted role is denied, told which it has and which are wanted."""
    credential = APIKeys.from_toml(keys_file()).credentials()[0]
    credential.require((Role.GATEWAY, Role.PROVIDER))
    with pytest.raises(SealbidError) as refused:
        credential.require((Role.OPERATOR,))
    assert refused.value.reason is Reason.PERMISSION_DENIED
    assert refused.value.message == "role of the credential is provider, want one of operator"


@pytest.mark.parametrize(
    "data",
    [
        keys_file(name="Provider A"),
        keys_file(digest="ab"),
        keys_file(roles="[]"),
        keys_file(roles='["king"]'),
        keys_file(roles="[[]]"),
        keys_file() + keys_file(name="other"),
        keys_file() + b'note = "x"\n',
        b"[other]\n",
        b"key = 1\n",
        b"\xff",
    ],
)
def test_wrong_files_are_refused_without_printing_digests(data: bytes) -> None:
    """A keys file with a wrong, unknown or doubled entry stops the process, naming the place only."""
    with pytest.raises(SettingsError) as refused:
        APIKeys.from_toml(data)
    assert DIGEST not in refused.value.message


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("registry.example:1", False),
        ("127.0.0.1.evil.example:1", False),
    ],
)
def test_plaintext_is_for_loopback_only(address: str, loopback: bool) -> None:
    """Listeners and channels without TLS are refused wherever others could listen in."""
    assert is_loopback(address) is loopback
    if loopback:
        assert server_tls(address, key_pem=None, certificate_pem=None) is None
        assert channel_tls(address, ca_pem=None) is None
        return
    with pytest.raises(SettingsError):
        server_tls(address, key_pem=None, certificate_pem=None)
    with pytest.raises(SettingsError):
        channel_tls(address, ca_pem=None)


def test_half_a_key_pair_is_refused() -> None:
    """A certificate without key, or the other way round, is a mistake, not plaintext."""
    with pytest.raises(SettingsError):
        server_tls("127.0.0.1:1", key_pem=b"key", certificate_pem=None)
