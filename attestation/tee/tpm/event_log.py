# SPDX-License-Identifier: Apache-2.0
"""The firmware's event log held against quoted registers (TCG PC Client Platform Firmware Profile, 3.3.4).

The firmware's registers are PCRs 0 to 7: its log accounts for every change of them. Those above belong to the boot
loader and the operating system, which go on extending them after the log has ended, so the log decides nothing there.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from attestation.bundle import Collateral
from attestation.errors import MalformedEvidence, NotGenuine, Reason
from attestation.tee.eventlog.replay import replay
from attestation.tee.eventlog.tcg2 import LOG_KIND, read_tcg2
from attestation.tee.tpm.attest import TPMQuote

FIRMWARE_PCRS: Final = range(8)


def event_log(quote: TPMQuote, values: Mapping[int, bytes], collateral: Sequence[Collateral]) -> str:
    """`replayed` if a log gives every firmware register quoted, `absent` without a log or such registers.

    Raises:
        MalformedEvidence: the log does not parse, or there are two.
        NotGenuine: EVENT_LOG_MISMATCH.
    """
    logs = [item.data for item in collateral if item.kind == LOG_KIND]
    if len(logs) > 1:
        raise MalformedEvidence(Reason.MALFORMED, f"collateral {LOG_KIND} is {len(logs)} items, want at most one")
    quoted = [index for index in quote.pcrs if index in FIRMWARE_PCRS]
    if not logs or not quoted:
        return "absent"
    replayed = replay(read_tcg2(logs[0]), quote.bank, quoted)
    for index in quoted:
        if replayed[index] != values[index]:
            got, want = replayed[index].hex(), values[index].hex()
            raise NotGenuine(Reason.EVENT_LOG_MISMATCH, f"tpm event log pcr{index} is {got}, want {want} as quoted")
    return "replayed"
