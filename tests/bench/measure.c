#include "measure.h"

#include <errno.h>
#include <sched.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void fatal(const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)fputs("bench: ", stderr);
        (void)vfprintf(stderr, format, ap);
        (void)fputc('\n', stderr);
        va_end(ap);
        exit(EXIT_FAILURE);
}

static uint64_t read_clock(clockid_t clock)
{
        struct timespec t;

        if (clock_gettime(clock, &t) < 0)
                fatal("a clock cannot be read: %s", strerror(errno));
        return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t now_nsec(void)
{
        return read_clock(CLOCK_MONOTONIC);
}

uint64_t cpu_nsec(pid_t pid)
{
        clockid_t clock;
        int r = clock_getcpuclockid(pid, &clock);

        if (r != 0)
                fatal("no CPU clock of process %d: %s", (int)pid, strerror(r));
        return read_clock(clock);
}

uint64_t rss_bytes(pid_t pid)
{
        char path[64], line[256];
        unsigned long long kib = 0;
        FILE *f;

        (void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid); /* it fits */
        f = fopen(path, "re");
        if (!f)
                fatal("%s: %s", path, strerror(errno));
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "Rss: %llu kB", &kib) == 1)
                        break;
        (void)fclose(f); /* only read */
        if (kib == 0)
                fatal("%s names no Rss", path);
        return kib * 1024;
}

/* About as long as the signed text of a register. */
static uint64_t verify_many(unsigned n)
{
        uint8_t public[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
        uint8_t text[160] = "register", sig[crypto_sign_BYTES];
        uint64_t start;

        (void)crypto_sign_keypair(public, secret); /* always 0, as the next */
        (void)crypto_sign_detached(sig, NULL, text, sizeof(text), secret);
        start = read_clock(CLOCK_THREAD_CPUTIME_ID);
        for (unsigned i = 0; i < n; i++)
                if (crypto_sign_verify_detached(sig, text, sizeof(text), public) != 0)
                        fatal("a good signature is refused");
        return read_clock(CLOCK_THREAD_CPUTIME_ID) - start;
}

double ed25519_verify_nsec(int core)
{
        enum { WARM_UP = 200, COUNT = 2000 };
        cpu_set_t before, there;
        uint64_t nsec;

        CPU_ZERO(&there);
        if (core >= 0)
                CPU_SET(core, &there);
        if (core >= 0 && (sched_getaffinity(0, sizeof(before), &before) < 0 ||
                          sched_setaffinity(0, sizeof(there), &there) < 0))
                fatal("cannot go to core %d: %s", core, strerror(errno));
        (void)verify_many(WARM_UP);
        nsec = verify_many(COUNT);
        if (core >= 0 && sched_setaffinity(0, sizeof(before), &before) < 0)
                fatal("cannot leave core %d: %s", core, strerror(errno));
        return (double)nsec / COUNT;
}

static int compare(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

        return (x > y) - (x < y);
}

double quantile(uint32_t *samples, size_t n, double p)
{
        if (n == 0)
                fatal("nothing was measured");
        qsort(samples, n, sizeof(samples[0]), compare);
        return samples[MIN(n - 1, (size_t)(p * (double)n))];
}
