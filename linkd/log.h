/* The daemon's log: one line an event on stderr, with systemd's priority prefix when journald reads
 * it. */
#pragma once

#include "liblinkproto/util.h"

typedef enum LogLevel {
        LOG_LEVEL_ERROR,
        LOG_LEVEL_WARNING,
        LOG_LEVEL_INFO,
        LOG_LEVEL_DEBUG
} LogLevel;

/* Owned and set by main.c; the only mutable global. */
extern LogLevel log_max_level;

void log_line(LogLevel level, const char *format, ...) _printf_(2, 3);
/* For lines that somebody outside can cause without end: LOG_LIMIT_LINES in each
 * LOG_LIMIT_MSEC, the others are counted and their number told with the next that passes. Zeroed at
 * first. now_msec: any clock that only goes on. */
typedef struct LogLimit {
        uint64_t since_msec;
        unsigned n, n_left_out;
} LogLimit;
void log_limited(LogLimit *limit, uint64_t now_msec, LogLevel level, const char *format, ...)
        _printf_(4, 5);
/* 0 or -EINVAL. */
int log_level_parse(const char *text, LogLevel *ret) _must_use_;

#define log_error(...)   log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
