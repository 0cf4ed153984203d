/* A libnvidia-ml.so.1 that knows the node's GPUs: as much of NVML as NVIDIA's container toolkit asks for.
 *
 * GPUs are the lines of /etc/lab/gpu (a UUID each), as for the simulated nvidia-smi; without that file
 * the driver is not loaded. Names, structures and codes are those of NVML's public header.
 */
#include <stdio.h>
#include <string.h>

#define OK 0
#define INVALID 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define TOO_SMALL 7
#define NOT_LOADED 9
#define MAX_GPUS 8
#define EXPORT __attribute__((visibility("default")))

static char uuids[MAX_GPUS][64];
static unsigned int gpus;

typedef struct {
  char busIdLegacy[16];
  unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
  char busId[32];
} pci_info;

static int copy(char *to, unsigned int room, const char *text) {
  if (strlen(text) >= room) return TOO_SMALL;
  strcpy(to, text);
  return OK;
}

static unsigned int number_of(void *device) { return (unsigned int)((char(*)[64])device - uuids); }

EXPORT int nvmlInit_v2(void) {
  FILE *file = fopen("/etc/lab/gpu", "r");
  if (!file) return NOT_LOADED;
  for (gpus = 0; gpus < MAX_GPUS && fscanf(file, "%63s", uuids[gpus]) == 1; gpus++) continue;
  fclose(file);
  return OK;
}
EXPORT int nvmlInit(void) { return nvmlInit_v2(); }
EXPORT int nvmlInitWithFlags(unsigned int flags) { (void)flags; return nvmlInit_v2(); }
EXPORT int nvmlShutdown(void) { return OK; }
EXPORT const char *nvmlErrorString(int code) {
  switch (code) {
    case OK: return "Success";
    case INVALID: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case TOO_SMALL: return "Insufficient Size";
    case NOT_LOADED: return "Driver Not Loaded";
    default: return "Unknown Error";
  }
}
EXPORT int nvmlSystemGetDriverVersion(char *version, unsigned int room) { return copy(version, room, "580.142"); }
EXPORT int nvmlSystemGetNVMLVersion(char *version, unsigned int room) { return copy(version, room, "13.580.142"); }
EXPORT int nvmlSystemGetCudaDriverVersion(int *version) { *version = 13000; return OK; }
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return OK; }
EXPORT int nvmlDeviceGetCount_v2(unsigned int *count) { *count = gpus; return OK; }
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) {
  if (index >= gpus) return INVALID;
  *device = &uuids[index];
  return OK;
}
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
  for (unsigned int i = 0; i < gpus; i++)
    if (!strcmp(uuid, uuids[i])) {
      *device = &uuids[i];
      return OK;
    }
  return NOT_FOUND;
}
EXPORT int nvmlDeviceGetIndex(void *device, unsigned int *index) { *index = number_of(device); return OK; }
EXPORT int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor) { *minor = number_of(device); return OK; }
EXPORT int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int room) { return copy(uuid, room, device); }
EXPORT int nvmlDeviceGetName(void *device, char *name, unsigned int room) { (void)device; return copy(name, room, "NVIDIA GB10"); }
EXPORT int nvmlDeviceGetBrand(void *device, int *brand) { (void)device; *brand = 0; return OK; }
EXPORT int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
  (void)device;
  *major = 12;
  *minor = 1;
  return OK;
}
EXPORT int nvmlDeviceGetPciInfo_v3(void *device, pci_info *pci) {
  memset(pci, 0, sizeof *pci);
  pci->domain = 0xf;
  pci->bus = 1 + number_of(device);
  snprintf(pci->busId, sizeof pci->busId, "0000000F:%02X:00.0", pci->bus);
  snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "000F:%02X:00.0", pci->bus);
  return OK;
}
EXPORT int nvmlDeviceGetPciInfo_v2(void *device, pci_info *pci) { return nvmlDeviceGetPciInfo_v3(device, pci); }
EXPORT int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending) {
  (void)device;
  *current = *pending = 0;
  return NOT_SUPPORTED;
}
EXPORT int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned int *count) { (void)device; *count = 0; return OK; }
EXPORT int nvmlDeviceIsMigDeviceHandle(void *device, unsigned int *is) { (void)device; *is = 0; return OK; }
/* A GB10 has no memory of its own. */
EXPORT int nvmlDeviceGetMemoryInfo(void *device, void *memory) { (void)device; (void)memory; return NOT_SUPPORTED; }
