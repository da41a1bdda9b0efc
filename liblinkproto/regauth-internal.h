/* The bytes that a register signs, for regsign.c and regverify.c. */
#pragma once

#include "buf.h"
#include "regauth.h"

void register_signed_bytes(Buf *b, const char *address, int64_t ts_msec, const char *nonce,
                           const char *origin);
