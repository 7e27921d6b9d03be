// What the build knows of itself: Package.swift defines MMPROBE_COMMIT when the variable of that name is set.
#include "CKernels.h"

#ifndef MMPROBE_COMMIT
#define MMPROBE_COMMIT ""
#endif

const char *ck_build_commit(void) { return MMPROBE_COMMIT; }
