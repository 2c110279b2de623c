# SPDX-License-Identifier: Apache-2.0
"""What a process is told about collateral: off by default, vendors' own hosts, and nothing else may be asked."""

from pathlib import Path

import pytest

from attestation.collateral.config import CollateralMode, CollateralSettings, open_completer, open_source
from attestation.collateral.requests import ReferenceManifest
from attestation.errors import CollateralUnavailable, SettingsError
from attestation.server.config import RegistrySettings
from attestation.settings import load_settings
from tests.support.fake_amd import NOW

BASE = 'origin = "r"\nstate_dir = "s"\npolicy_file = "p"\nkeys_file = "k"\n'


def loaded(tmp_path: Path, text: str = "", **env: str) -> CollateralSettings:
    path = tmp_path / "registry.toml"
    path.write_text(BASE + text)
    return load_settings(RegistrySettings, path, env, prefix="SEALBID_REGISTRY_").collateral


def test_it_is_off_unless_told(tmp_path: Path) -> None:
    """A development registry asks nobody and keeps nothing."""
    assert loaded(tmp_path).mode is CollateralMode.OFF


def test_only_the_vendors_hosts_may_be_asked(tmp_path: Path) -> None:
    """By default these five, on port 443; a mirror takes the place of its vendor and of no other."""
    assert loaded(tmp_path).hosts() == {
        "api.trustedservices.intel.com:443",
        "certificates.trustedservices.intel.com:443",
        "kdsintf.amd.com:443",
        "rim.attestation.nvidia.com:443",
        "ocsp.ndis.nvidia.com:443",
    }
    mirrored = loaded(tmp_path, '[collateral]\nmode = "fetch"\nintel_pcs = "https://pccs.example:8081"\n')
    assert "pccs.example:8081" in mirrored.hosts()
    assert "api.trustedservices.intel.com:443" not in mirrored.hosts()


@pytest.mark.parametrize(
    "line",
    [
        'intel_pcs = "http://api.trustedservices.intel.com"',
        'amd_kds = "https://user:secret@kdsintf.amd.com"',
        'amd_kds = "https://kdsintf.amd.com?x=y"',
        'nvidia_rim = "https://"',
        'nvidia_ocsp = "ocsp.ndis.nvidia.com"',
        'nvidia_ocsp = "https://ocsp.ndis.nvidia.com:99999"',
        'proxy = "http://proxy:3128"',
        "request_seconds = 0",
        "wait_seconds = 3600",
        "limit_mib = 0",
        'mode = "on"',
        "retries = 3",
    ],
)
def test_what_cannot_be_meant_does_not_start(tmp_path: Path, line: str) -> None:
    """Plain HTTP, secrets in addresses, endless waits and unknown keys are refused by name."""
    with pytest.raises(SettingsError) as refused:
        loaded(tmp_path, f"[collateral]\n{line}\n")
    assert "collateral" in refused.value.message
    assert "secret" not in refused.value.message


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    """As with every other setting."""
    settings = loaded(tmp_path, '[collateral]\nmode = "fetch"\n', SEALBID_REGISTRY_COLLATERAL_MODE="cache")
    assert settings.mode is CollateralMode.CACHE


def test_the_mode_cache_asks_nobody(tmp_path: Path) -> None:
    """It serves what the folder holds; what it does not hold is unavailable at once."""
    settings = CollateralSettings(mode=CollateralMode.CACHE)

    def pause(_: float) -> None:
        raise AssertionError("no attempt is made, so none is repeated")

    source = open_source(settings, tmp_path / "collateral", pause=pause, jitter=lambda: 0.0)
    with pytest.raises(CollateralUnavailable):
        source.get(ReferenceManifest(id="NV_GPU_DRIVER_GH100_550.90.07"), NOW, account="provider-a")
    open_completer(settings, source).close()


def test_a_folder_of_its_own_is_used(tmp_path: Path) -> None:
    """Registries on one machine may share a cache by naming it."""
    settings = CollateralSettings(mode=CollateralMode.CACHE, folder=tmp_path / "shared")
    open_source(settings, tmp_path / "collateral", pause=lambda _: None, jitter=lambda: 0.0)
    assert (tmp_path / "shared" / "objects").is_dir()
    assert not (tmp_path / "collateral").exists()


def test_authorities_that_do_not_read_do_not_start(tmp_path: Path) -> None:
    """A missing or broken ca_file is a settings error, not a registry that trusts nobody."""
    (tmp_path / "ca.pem").write_text("no pem")
    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        settings = CollateralSettings(mode=CollateralMode.FETCH, ca_file=path)
        with pytest.raises(SettingsError):
            open_source(settings, tmp_path, pause=lambda _: None, jitter=lambda: 0.0)
