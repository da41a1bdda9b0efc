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
