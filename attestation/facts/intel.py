# SPDX-License-Identifier: Apache-2.0
"""What Intel TDX and SGX quotes state (Intel TDX DCAP Quote Generation Library v1.5+, SGX ECDSA QGL reference)."""

from typing import Final

from attestation.errors import Reason
from attestation.facts.fact import Fact, Vocabulary

_PLATFORM: Final = {
    "tcb_level": Fact(
        type=str,
        meaning='"known" when the platform reaches a TCB level of Intel, "unknown" when none, and has no status then',
        remedy="update BIOS, microcode, TDX module and quoting enclave to a level Intel lists, then attest again",
        reason=Reason.TCB_UNKNOWN,
    ),
    "tcb_evaluation_number": Fact(
        type=int,
        meaning="tcbEvaluationDataNumber of the TCB info the quote was judged by",
        remedy="use newer collateral; Intel issues it with every TCB recovery",
        reason=Reason.TCB_REFUSED,
    ),
    "qe_tcb_evaluation_number": Fact(
        type=int,
        meaning="tcbEvaluationDataNumber of the quoting enclave's identity",
        remedy="use newer collateral for the quoting enclave",
        reason=Reason.TCB_REFUSED,
    ),
    "tcb_age_days": Fact(
        type=int,
        meaning="whole days since the date of the platform's TCB level, 36500 if it reaches none",
        remedy="update BIOS, microcode and the TDX module, then attest again",
        reason=Reason.TCB_REFUSED,
    ),
    "sgx_type": Fact(
        type=str,
        meaning='memory protection of the platform: "standard", "scalable" or "scalable-with-integrity"',
        remedy="use a platform the policy lists",
        reason=Reason.PRODUCT_REFUSED,
    ),
    "dynamic_platform": Fact(
        type=bool,
        meaning="the platform may gain packages or memory (multi-socket servers say so)",
        remedy="use a platform the policy lists",
        reason=Reason.ATTRIBUTE_REFUSED,
    ),
    "cached_keys": Fact(
        type=bool,
        meaning="platform root keys are cached by the registration service",
        remedy="use a platform the policy lists",
        reason=Reason.ATTRIBUTE_REFUSED,
    ),
    "smt_enabled": Fact(
        type=bool,
        meaning="simultaneous multithreading is on, or the platform's certificate does not say",
        remedy="switch SMT off in the BIOS, or ask for it to be accepted",
        reason=Reason.ATTRIBUTE_REFUSED,
    ),
}

_WHERE: Final = (
    "where the machine stands: attestation keys have been taken from Intel servers by probing their memory (TEE.fail, "
    "WireTap, 2025), and quotes forged with such a key look like these; list the machines you admit under platform"
)

TDX: Final = Vocabulary(
    registers=(
        "mrtd",
        "mrseam",
        "mrsignerseam",
        "mrconfigid",
        "mrowner",
        "mrownerconfig",
        "mrservicetd",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
    ),
    facts={
        **_PLATFORM,
        "sept_ve_disable": Fact(
            type=bool,
            meaning="TD attribute 28: the host cannot inject #VE on private memory",
            remedy="start the guest with sept-ve-disable=on",
            reason=Reason.ATTRIBUTE_REFUSED,
        ),
        "migratable": Fact(
            type=bool,
            meaning="TD attribute 29: the guest may move to another host by a migration TD",
            remedy="start the guest without a migration TD",
            reason=Reason.ATTRIBUTE_REFUSED,
        ),
        "other_attributes": Fact(
            type=str,
            meaning="the remaining TD attribute bits, 16 hex digits as in the quote, debug and the two above cleared",
            remedy="start the guest with the attributes the policy lists",
            reason=Reason.ATTRIBUTE_REFUSED,
        ),
        "xfam": Fact(
            type=str,
            meaning="extended features the guest may use, 16 hex digits as in the quote",
            remedy="start the guest with the CPU features the policy lists",
            reason=Reason.ATTRIBUTE_REFUSED,
        ),
        "event_log": Fact(
            type=str,
            meaning='"replayed" when an event log in the bundle gives the quoted RTMRs, "absent" without one',
            remedy="send the guest's event log with the evidence",
            reason=Reason.EVENT_LOG_MISMATCH,
        ),
        "app_compose": Fact(
            type=str,
            meaning='SHA-256 of the compose file, as a replayed dstack log says, or "absent"; worth what rtmr0..2 are',
            remedy="start the compose file the policy lists, and send the dstack event log",
            reason=Reason.MEASUREMENT_REFUSED,
        ),
    },
    unproven=(_WHERE,),
)

SGX: Final = Vocabulary(
    registers=("mrenclave", "mrsigner", "config_id"),
    facts={
        **_PLATFORM,
        "isv_prod_id": Fact(
            type=int,
            meaning="product number the enclave's signer gave",
            remedy="run the enclave the policy lists",
            reason=Reason.ATTRIBUTE_REFUSED,
        ),
        "isv_svn": Fact(
            type=int,
            meaning="security version the enclave's signer gave",
            remedy="run a newer build of the enclave",
            reason=Reason.FIRMWARE_REFUSED,
        ),
        "attributes": Fact(
            type=str,
            meaning="enclave attributes without the debug bit, 32 hex digits as in the quote",
            remedy="sign the enclave with the attributes the policy lists",
            reason=Reason.ATTRIBUTE_REFUSED,
        ),
    },
    unproven=(_WHERE,),
)
