/* The daemon's log: one line an event on stderr, or, when that is the journal, an entry with
 * fields.
 *
 * A format that begins with "host %s", "peer %s" or "uplink %s" is about what its first argument
 * names: the entry then has LINK_HOST=, LINK_PEER= or LINK_UPLINK=. */
#pragma once

#include "liblinkproto/util.h"

typedef enum LogLevel {
        LOG_LEVEL_ERROR,
        LOG_LEVEL_WARNING,
        LOG_LEVEL_INFO,
        LOG_LEVEL_DEBUG
} LogLevel;

/* Owned and set by main.c; the only mutable globals. */
extern LogLevel log_max_level;
extern bool log_to_journal;
/* Whether stderr is the journal (systemd.exec(5)). */
bool log_stderr_is_journal(void);

void log_line(LogLevel level, const char *format, ...) _printf_(2, 3);
/* 0 or -EINVAL. */
int log_level_parse(const char *text, LogLevel *ret) _must_use_;

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
