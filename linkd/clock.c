#include "clock.h"

#include <errno.h>
#include <time.h>

int clock_parse_http_date(const char *text, int64_t *ret_msec)
{
        struct tm tm = {};
        /* The names of days and months are English: the daemon sets no locale. */
        const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        time_t t;

        if (!end || *end || tm.tm_year < 70)
                return -EINVAL;
        t = timegm(&tm);
        if (t < 0)
                return -EINVAL;
        *ret_msec = (int64_t)t * 1000;
        return 0;
}

int64_t clock_boot_msec(void)
{
        struct timespec now;

        (void)clock_gettime(CLOCK_BOOTTIME, &now); /* cannot fail for this clock */
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
