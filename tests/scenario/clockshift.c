/* Preloaded into a program: its wall clock is wrong by $CLOCK_SHIFT_SEC seconds, or by those that
 * the file $CLOCK_SHIFT_FILE says just now. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static time_t shift(void)
{
        const char *text = getenv("CLOCK_SHIFT_SEC"), *path = getenv("CLOCK_SHIFT_FILE");
        FILE *f = path ? fopen(path, "re") : NULL;
        long sec;
        int n;

        if (f) {
                n = fscanf(f, "%ld", &sec);
                (void)fclose(f); /* read only */
                return n == 1 ? sec : 0;
        }
        return text ? (time_t)strtol(text, NULL, 10) : 0;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *ret)
{
        long r = syscall(SYS_clock_gettime, clock, ret);

        if (r == 0 && clock == CLOCK_REALTIME)
                ret->tv_sec += shift();
        return (int)r;
}

EXPORT time_t time(time_t *ret)
{
        struct timespec now;

        if (clock_gettime(CLOCK_REALTIME, &now) < 0)
                return -1;
        if (ret)
                *ret = now.tv_sec;
        return now.tv_sec;
}
