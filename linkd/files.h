/* Descriptors: who may have the last of them, so that an agent that is full can still be asked why,
 * and can still write its records. */
#pragma once

#include "liblinkproto/util.h"

typedef enum FilesUse {
        FILES_NETWORK, /* sessions and relays: leave an eighth of the limit to what is local */
        FILES_USER,    /* other users' applications: leave a sixteenth */
        FILES_OWNER,   /* root's and the agent's own user's: leave a thirty-second */
} FilesUse;

/* Whether fd, which was just opened, may be kept. The kernel hands out the lowest number that is
 * free, so a high one says that all below it are in use. */
bool files_may_keep(int fd, FilesUse use);
