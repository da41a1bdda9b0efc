/* The access lists of linkd.conf: who may do what, as configured. policy.h decides by them. */
#pragma once

#include <sys/types.h>

#include "conf.h"

/* Users and groups, resolved when the configuration was read. */
typedef struct AccessList {
        bool given; /* else its default counts */
        size_t n_uids, n_gids;
        uid_t *uids;
        gid_t *gids;
} AccessList;

/* The list of one host or peer, by its name. */
typedef struct AccessOf {
        struct AccessOf *next;
        char *name;
        AccessList list;
} AccessOf;

typedef struct AccessRules {
        AccessList read, use, serve, administer; /* in general */
        AccessOf *hosts;                         /* serve */
        AccessOf *peers;                         /* use */
} AccessRules;

/* Takes the group `access`. 0 or negative errno with the fault told. */
int access_take(AccessRules *a, const ConfSource *src, const config_setting_t *s) _must_use_;
void access_done(AccessRules *a);
/* The list of a host or peer; NULL: it has none. */
const AccessList *access_find(const AccessOf *lists, const char *name);
/* A group by its name or number (which need not exist). 0; -EINVAL: there is none. */
int access_parse_gid(const char *text, gid_t *ret) _must_use_;
