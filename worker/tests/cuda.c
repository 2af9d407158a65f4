/* A driver of CUDA that has no card: it answers what the variables of a test say. */

#include <stdlib.h>

static int number(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

int cuInit(unsigned flags) {
    (void)flags;
    return number("CUDA_INIT");
}

int cuDriverGetVersion(int *version) {
    *version = number("CUDA_DRIVER");
    return 0;
}

int cuDeviceGetCount(int *count) {
    *count = number("CUDA_CARDS");
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = index;
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    *value = attribute == 75 ? number("CUDA_CAPABILITY") : 0;
    return 0;
}

int cuGetErrorName(int error, const char **name) {
    *name = error == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : NULL;
    return *name ? 0 : 1;
}
