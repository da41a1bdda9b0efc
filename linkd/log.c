#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
        const char *name;
        const char *journal_prefix; /* sd-daemon(3) */
} levels[] = {
        [LOG_LEVEL_ERROR] = {"error", "<3>"},
        [LOG_LEVEL_WARNING] = {"warning", "<4>"},
        [LOG_LEVEL_INFO] = {"info", "<6>"},
        [LOG_LEVEL_DEBUG] = {"debug", "<7>"},
};

void log_line(LogLevel level, const char *format, ...)
{
        char text[1024];
        va_list ap;

        if (level > log_max_level)
                return;
        va_start(ap, format);
        (void)vsnprintf(text, sizeof(text), format, ap); /* cut is fine */
        va_end(ap);
        /* Text from outside must not forge lines or move a terminal's cursor. */
        for (char *p = text; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        *p = '?';
        fprintf(stderr, "%s%s: %s\n", getenv("JOURNAL_STREAM") ? levels[level].journal_prefix : "",
                levels[level].name, text);
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
