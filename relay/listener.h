/* Where a relay listens, as text. */
#pragma once

#include "liblinkproto/util.h"

/* Whether relay_listen() could understand it: "PORT", "ADDRESS:PORT" or "/PATH". */
bool listener_is_valid(const char *where);
