/* Text from elsewhere: is it UTF-8, is it JSON, can it be shown. No I/O. */
#pragma once

#include "liblinkproto/util.h"

bool text_is_utf8(const char *text, size_t n);

/* A copy that a terminal shows and does not obey: control characters and what is not UTF-8 become
 * \xNN. NULL: out of memory. */
char *text_clean(const char *text, size_t n);

/* Checks that text is one JSON value (RFC 8259) within white space; *ret_start and *ret_n leave
 * that out. Nothing is changed or converted: numbers may have any size. 0; -EBADMSG; -E2BIG: nested
 * deeper than linkd takes. */
int text_check_json(const char *text, size_t n, const char **ret_start, size_t *ret_n);

/* Base64 (RFC 4648, padded), a new string. NULL: out of memory. */
char *text_base64(const void *data, size_t n);
