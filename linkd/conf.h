/* Reading linkd.conf strictly: a number is not cut, a key that nobody knows and a value that is out
 * of range are faults, and a fault names file, line and value. */
#pragma once

#include <libconfig.h>

#include "liblinkproto/util.h"

/* What is being read, and where its fault goes (free()). */
typedef struct ConfSource {
        const char *file;
        char **ret_fault;
} ConfSource;

/* One setting that may stand in a group. take: 0 or negative errno with the fault told. */
typedef struct ConfKey {
        const char *name;
        int (*take)(void *userdata, const ConfSource *src, const config_setting_t *s);
} ConfKey;

/* Reads a file into an initialised config. 0 or negative errno with the fault told. */
int conf_read(config_t *config, const ConfSource *src) _must_use_;
/* Hands each setting of a group to its key (keys end with a NULL name); another one is a fault that
 * lists them. */
int conf_take_group(const ConfSource *src, const config_setting_t *group, const ConfKey *keys,
                    void *userdata) _must_use_;

/* Tells "FILE:LINE: NAME = VALUE: must be MUST". value: the string of a list that is wrong; NULL:
 * all of the setting. -EINVAL. */
int conf_fault(const ConfSource *src, const config_setting_t *s, const char *value,
               const char *must);
/* Tells "FILE:LINE: NAME: FAULT": of a value that is secret or says nothing. -EINVAL. */
int conf_fault_hidden(const ConfSource *src, const config_setting_t *s, const char *fault);
/* Tells what is no setting's fault; the error is handed on. */
int conf_fail(char **ret_fault, int error, const char *format, ...) _printf_(3, 4);

/* 0 or -EINVAL with the fault told. */
int conf_number(const ConfSource *src, const config_setting_t *s, int64_t min, int64_t max,
                int64_t *ret) _must_use_;
/* *ret is libconfig's. */
int conf_string(const ConfSource *src, const config_setting_t *s, const char **ret) _must_use_;
/* A copy in the place of *to, which is freed. 0, -EINVAL or -ENOMEM. */
int conf_string_dup(const ConfSource *src, const config_setting_t *s, char **to) _must_use_;
