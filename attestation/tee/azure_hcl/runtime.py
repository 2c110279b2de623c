# SPDX-License-Identifier: Apache-2.0
"""The paravisor's runtime data: the vTPM's attestation key and how the virtual machine was set up, as JSON.

    {"keys": [{"kid":"HCLAkPub", "kty":"RSA", "e":"AQAB", "n":base64url, ..}, ..],
     "vm-configuration": {"console-enabled", "secure-boot", "tpm-enabled", "tpm-persisted": bool, ..}, ..}

Read from exactly the bytes whose hash the hardware reports. Duplicate keys, two attestation keys, and numbers spelled
otherwise than canonically are refused. `key_ops` is not looked at: early paravisors called the signing key one for
encryption. Other members, such as the VM's id and the guest's own user data, say nothing a policy could rely on.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from attestation.errors import MalformedEvidence, Reason
from attestation.tee.azure_hcl.hcl import MAX_HCL_BYTES
from attestation.tee.strict_json import JSONObject, read_json

MAX_KEYS: Final = 8
SWITCHES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "secure_boot": "secure-boot",
        "console_enabled": "console-enabled",
        "tpm_enabled": "tpm-enabled",
        "tpm_persisted": "tpm-persisted",
    }
)
"""Facts of the virtual machine's configuration and how the paravisor calls them."""

_KEY_ID: Final = "HCLAkPub"
_EXPONENT: Final = ("AQAB", 65537)
_BITS: Final = frozenset({2048, 3072, 4096})
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{1,1024}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeData:
    """The vTPM's attestation key, and each switch of `SWITCHES` as "on", "off" or "unstated"."""

    key: rsa.RSAPublicKey
    switches: Mapping[str, str]


def read_runtime_data(data: bytes) -> RuntimeData:
    """The runtime data of these bytes. Raises `MalformedEvidence`, UNSUPPORTED for a key that is not RSA."""
    root = JSONObject(read_json(data, "hcl runtime data", MAX_HCL_BYTES), "hcl runtime data")
    keys = [key for key in root.objects("keys", MAX_KEYS) if "kid" in key and key.text("kid", 64) == _KEY_ID]
    if len(keys) != 1:
        raise _malformed(_KEY_ID, f"there {len(keys)} times", "there once")
    return RuntimeData(key=_key(keys[0]), switches=_switches(root.object("vm-configuration")))


def _key(jwk: JSONObject) -> rsa.RSAPublicKey:
    if (kind := jwk.text("kty", 16)) != "RSA":
        raise MalformedEvidence(Reason.UNSUPPORTED, f"hcl runtime data {_KEY_ID} is {kind!r}, want 'RSA'")
    exponent, number = _EXPONENT
    if jwk.text("e", 16) != exponent:
        raise _malformed(f"{_KEY_ID}.e", "another", f"{exponent} ({number})")
    modulus = int.from_bytes(_base64url(jwk.text("n", 1024)), "big")
    if modulus.bit_length() not in _BITS or not modulus & 1:
        raise _malformed(f"{_KEY_ID}.n", f"of {modulus.bit_length()} bits", "an odd number of 2048, 3072 or 4096")
    return rsa.RSAPublicNumbers(number, modulus).public_key()


def _base64url(text: str) -> bytes:
    octets = b""
    if _BASE64URL.fullmatch(text):
        with suppress(binascii.Error):
            octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if not octets or base64.urlsafe_b64encode(octets).rstrip(b"=").decode() != text:
        raise _malformed(f"{_KEY_ID}.n", "no such text", "canonical base64url without fill")
    return octets


def _switches(configuration: JSONObject) -> Mapping[str, str]:
    return {fact: _switch(configuration, name) for fact, name in SWITCHES.items()}


def _switch(configuration: JSONObject, name: str) -> str:
    if name not in configuration:
        return "unstated"
    return "on" if configuration.boolean(name) else "off"


def _malformed(field: str, got: str, want: str) -> MalformedEvidence:
    return MalformedEvidence(Reason.MALFORMED, f"hcl runtime data {field} is {got}, want {want}")
