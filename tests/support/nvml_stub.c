// SPDX-License-Identifier: Apache-2.0
// A library of NVML's interface with two GPUs, for tests of how its structures are laid out (NVIDIA's nvml.h).
// GPU 5 does not support reports, GPU 6 states sizes beyond its fields, every other one but 0 and 1 is not there.

#include <stdint.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3 };
enum { CHAIN = 0x1000, ATTESTATION_CHAIN = 0x1400, NONCE = 0x20, REPORT = 0x2000, CEC_REPORT = 0x1000 };

struct state {
    unsigned int environment, feature, development_tools;
};

struct certificate {
    unsigned int chain_size, attestation_chain_size;
    unsigned char chain[CHAIN], attestation_chain[ATTESTATION_CHAIN];
};

struct report {
    unsigned int cec_present, report_size, cec_report_size;
    unsigned char nonce[NONCE], report[REPORT], cec_report[CEC_REPORT];
};

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = 2;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
    if (index > 6 || (index > 1 && index < 5)) return INVALID_ARGUMENT;
    *device = (void *)(uintptr_t)(0x7f0000000000 + index);
    return SUCCESS;
}

int nvmlSystemGetConfComputeState(struct state *state) {
    *state = (struct state){.environment = 2, .feature = 1, .development_tools = 1};
    return SUCCESS;
}

int nvmlSystemGetConfComputeGpusReadyState(unsigned int *ready) {
    *ready = 1;
    return SUCCESS;
}

int nvmlDeviceGetConfComputeGpuCertificate(void *device, struct certificate *made) {
    unsigned char index = (uintptr_t)device & 0xff;
    memset(made, 0, sizeof *made);
    memset(made->chain, 0xee, sizeof made->chain);
    memcpy(made->attestation_chain, "-----BEGIN CERTIFICATE-----", 27);
    made->attestation_chain[27] = '0' + index;
    made->chain_size = CHAIN;
    made->attestation_chain_size = index == 6 ? ATTESTATION_CHAIN + 1 : 30;
    return SUCCESS;
}

int nvmlDeviceGetConfComputeGpuAttestationReport(void *device, struct report *made) {
    unsigned char index = (uintptr_t)device & 0xff;
    if (index == 5) return NOT_SUPPORTED;
    memcpy(made->report, "\x11\xe0\x01\xff", 4);
    memcpy(made->report + 4, made->nonce, NONCE);
    for (int place = 0; place < 8; place++) {
        made->report[36 + 2 * place] = 0;
        made->report[37 + 2 * place] = index;
    }
    memset(made->cec_report, 0xee, sizeof made->cec_report);
    made->report_size = index == 6 ? REPORT + 1 : 4 + NONCE + 16;
    return SUCCESS;
}
