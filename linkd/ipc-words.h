/* The error words of docs/IPC.md. */
#pragma once

#include "liblinkproto/util.h"

/* Linux's number for a word; 0: it has none. */
uint32_t ipc_error_of_word(const char *word);
