// Stands in for NVIDIA's libnvidia-ml.so.1: the calls that rbee-hive makes, answered from the environment. Names, types
// and numbers are those of nvml.h.
//
// NVML_CARDS  BUS,NAME,TOTAL,FREE,MAJOR,MINOR,MIG of each card, parted by `;`. MIG: 1 on, 0 off, -1 the card has none
// NVML_HELD   INDEX,PID,BYTES of one process
// NVML_INIT   what nvmlInit_v2 returns, when it is not 0

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, UNKNOWN = 999 };

typedef unsigned long long u64;

struct card {
    char bus[32], name[96];
    u64 total, free;
    int major, minor, mig;
};

static struct card cards[8];
static unsigned count;

int nvmlInit_v2(void) {
    const char *result = getenv("NVML_INIT"), *text = getenv("NVML_CARDS");
    if (result)
        return atoi(result);
    count = 0;
    for (char *rest = strdup(text ? text : ""), *line; (line = strsep(&rest, ";")) && *line; count++) {
        struct card *it = &cards[count];
        if (sscanf(line, "%31[^,],%95[^,],%llu,%llu,%d,%d,%d", it->bus, it->name, &it->total, &it->free,
                   &it->major, &it->minor, &it->mig) != 7)
            return UNKNOWN;
    }
    return SUCCESS;
}

int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "580.82.07");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *found) {
    *found = count;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct card **card) {
    *card = &cards[index];
    return index < count ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetName(struct card *card, char *name, unsigned length) {
    snprintf(name, length, "%s", card->name);
    return SUCCESS;
}

struct pci_info {
    char legacy[16];
    unsigned domain, bus, device, id, sub_system_id;
    char bus_id[32];
};

int nvmlDeviceGetPciInfo_v3(struct card *card, struct pci_info *info) {
    memset(info, 0, sizeof *info);
    strcpy(info->bus_id, card->bus);
    return SUCCESS;
}

struct memory {
    unsigned version;
    u64 total, reserved, free, used;
};

int nvmlDeviceGetMemoryInfo_v2(struct card *card, struct memory *memory) {
    if (memory->version != (sizeof *memory | 2 << 24))
        return INVALID_ARGUMENT;
    memory->total = card->total;
    memory->reserved = 0;
    memory->free = card->free;
    memory->used = card->total - card->free;
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(struct card *card, int *major, int *minor) {
    *major = card->major;
    *minor = card->minor;
    return SUCCESS;
}

int nvmlDeviceGetMigMode(struct card *card, unsigned *current, unsigned *pending) {
    if (card->mig < 0)
        return NOT_SUPPORTED;
    *current = *pending = card->mig;
    return SUCCESS;
}

struct process {
    unsigned pid;
    u64 used;
    unsigned gpu_instance, compute_instance;
};

int nvmlDeviceGetComputeRunningProcesses_v3(struct card *card, unsigned *room, struct process *processes) {
    const char *held = getenv("NVML_HELD");
    struct process process = {0, 0, ~0u, ~0u};
    int index, there = held && sscanf(held, "%d,%u,%llu", &index, &process.pid, &process.used) == 3
                       && card == &cards[index];
    unsigned offered = *room;
    *room = there;
    if (!there)
        return SUCCESS;
    if (offered < 1)
        return INSUFFICIENT_SIZE;
    processes[0] = process;
    return SUCCESS;
}
