#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "limits.h"

static const struct {
        const char *name;
        const char *journal_prefix; /* sd-daemon(3) */
} levels[] = {
        [LOG_LEVEL_ERROR] = {"error", "<3>"},
        [LOG_LEVEL_WARNING] = {"warning", "<4>"},
        [LOG_LEVEL_INFO] = {"info", "<6>"},
        [LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

static void log_va(LogLevel level, const char *format, va_list ap)
        __attribute__((__format__(__printf__, 2, 0)));
static void log_va(LogLevel level, const char *format, va_list ap)
{
        char text[1024];

        (void)vsnprintf(text, sizeof(text), format, ap); /* cut is fine */
        /* Text from outside must not forge lines or move a terminal's cursor. */
        for (char *p = text; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        *p = '?';
        fprintf(stderr, "%s%s: %s\n", getenv("JOURNAL_STREAM") ? levels[level].journal_prefix : "",
                levels[level].name, text);
}

void log_line(LogLevel level, const char *format, ...)
{
        va_list ap;

        if (level > log_max_level)
                return;
        va_start(ap, format);
        log_va(level, format, ap);
        va_end(ap);
}

void log_limited(LogLimit *limit, uint64_t now_msec, LogLevel level, const char *format, ...)
{
        va_list ap;

        if (level > log_max_level)
                return;
        if (now_msec - limit->since_msec >= LOG_LIMIT_MSEC)
                limit->n = 0;
        if (limit->n >= LOG_LIMIT_LINES) {
                limit->n_left_out++;
                return;
        }
        if (limit->n++ == 0)
                limit->since_msec = now_msec;
        if (limit->n_left_out)
                log_line(level, "%u lines like the next were left out", limit->n_left_out);
        limit->n_left_out = 0;
        va_start(ap, format);
        log_va(level, format, ap);
        va_end(ap);
}

int log_level_parse(const char *text, LogLevel *ret)
{
        for (size_t i = 0; i < ELEMENTSOF(levels); i++)
                if (strcmp(text, levels[i].name) == 0) {
                        *ret = (LogLevel)i;
                        return 0;
                }
        return -EINVAL;
}
