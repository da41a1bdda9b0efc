/* Clocks, a process's CPU and memory, and the end of a run that cannot go on. */
#pragma once

#include "liblinkproto/util.h"

#include <sys/types.h>

/* Tells why and ends the program with 1: a benchmark has nothing to go on with. */
_Noreturn void fatal(const char *format, ...) _printf_(1, 2);

/* Monotonic time. */
uint64_t now_nsec(void);
static inline uint64_t now_msec(void)
{
        return now_nsec() / 1000000;
}

/* CPU time that all threads of a process have used, user and system. */
uint64_t cpu_nsec(pid_t pid);
/* Resident memory of a process, counted exactly (smaps_rollup). */
uint64_t rss_bytes(pid_t pid);

/* CPU time of one Ed25519 verification by libsodium, measured on the core given (-1: here). */
double ed25519_verify_nsec(int core);

/* The p-quantile (0..1) of n samples, which it sorts. */
double quantile(uint32_t *samples, size_t n, double p);
