/* What store.c (records, files) and store-open.c (directory, lock, master key) share. */
#pragma once

#include "store.h"

struct Store {
        char *dir;
        int dir_fd;
        int lock_fd; /* -1: opened to read */
        Secret *master;
        const char *master_from; /* in words */
        int last_error;          /* of the last attempt to write: 0 or negative errno */
};

/* For _cleanup_. */
void store_close_fdp(int *fd);
/* Formats a fault for the caller to print, and passes the error on. */
int store_fault(char **ret, int error, const char *format, ...) _printf_(3, 4);
int store_read_all(int fd, void *p, size_t size, size_t *ret) _must_use_;
/* Temporary file, sync, rename, sync of the directory. On failure there is what was there before.
 */
int store_write_atomic(Store *s, const char *name, const void *data, size_t len,
                       bool sync) _must_use_;
/* Calls func for each entry until it returns nonzero, which is handed on. */
int store_each_entry(Store *s, int (*func)(Store *s, const char *name, void *userdata),
                     void *userdata) _must_use_;
bool store_has_suffix(const char *name, const char *suffix);
bool store_is_record_name(const char *name);
