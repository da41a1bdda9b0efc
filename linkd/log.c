#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

static const struct {
        const char *name;
        int priority;
} levels[] = {
        [LOG_LEVEL_ERROR] = {"error", LOG_ERR},
        [LOG_LEVEL_WARNING] = {"warning", LOG_WARNING},
        [LOG_LEVEL_INFO] = {"info", LOG_INFO},
        [LOG_LEVEL_DEBUG] = {"debug", LOG_DEBUG},
};

/* How a line begins that is about something, and the journal's field for that. */
static const struct {
        const char *start, *field;
} subjects[] = {
        {"host %s", "LINK_HOST"},
        {"peer %s", "LINK_PEER"},
        {"uplink %s", "LINK_UPLINK"},
};

bool log_stderr_is_journal(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* Text from outside must not forge lines or move a terminal's cursor. */
static void clean(char *text)
{
        for (char *p = text; *p; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        *p = '?';
}

/* `FIELD=name` of what the line is about; the first argument is its name. "": about nothing. */
static void describe_subject(const char *format, va_list ap, char *out, size_t size)
{
        out[0] = '\0';
        for (size_t i = 0; i < ELEMENTSOF(subjects); i++) {
                if (strncmp(format, subjects[i].start, strlen(subjects[i].start)) != 0)
                        continue;
                (void)snprintf(out, size, "%s=%s", subjects[i].field,
                               va_arg(ap, const char *)); /* cut is fine */
                clean(out);
                return;
        }
}

/* Negative: it did not get there. */
static int write_journal(LogLevel level, const char *text, const char *subject)
{
        if (subject[0])
                return sd_journal_send("PRIORITY=%i", levels[level].priority, "MESSAGE=%s", text,
                                       "%s", subject, NULL);
        return sd_journal_send("PRIORITY=%i", levels[level].priority, "MESSAGE=%s", text, NULL);
}

void log_line(LogLevel level, const char *format, ...)
{
        char text[1024], subject[640];
        va_list ap;

        if (level > log_max_level)
                return;
        va_start(ap, format);
        (void)vsnprintf(text, sizeof(text), format, ap); /* cut is fine */
        va_end(ap);
        clean(text);
        if (log_to_journal) {
                va_start(ap, format);
                describe_subject(format, ap, subject, sizeof(subject));
                va_end(ap);
                if (write_journal(level, text, subject) >= 0)
                        return;
        }
        fprintf(stderr, "%s: %s\n", levels[level].name, text);
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
