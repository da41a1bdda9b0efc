/* A byte buffer that grows, and a writer of JSON text into it.
 *
 * Every append after a failed one does nothing, so that a caller builds a whole message and looks
 * at the result once, by buf_ok(). Not for secrets: it does not wipe what it leaves behind when
 * it grows (see secret.h), except that buf_wipe_free() wipes what it holds. */
#pragma once

#include "util.h"

typedef struct Buf {
        uint8_t *data; /* owned; free() */
        size_t len;
        size_t cap;
        bool failed; /* an allocation failed: the content is incomplete */
} Buf;

/* Frees the content and leaves an empty buffer. NULL is fine. */
void buf_done(Buf *b);
/* The same, for content that must not stay in memory. */
void buf_done_wipe(Buf *b);
/* The same, if it was only appended to: wipes what it holds, and not all that it has room for. */
void buf_done_wipe_content(Buf *b);
/* Makes room for n more bytes. 0 or -ENOMEM (and the buffer counts as failed). */
int buf_reserve(Buf *b, size_t n);
void buf_add(Buf *b, const void *p, size_t n);
void buf_add_str(Buf *b, const char *s);
void buf_add_u8(Buf *b, uint8_t v);
void buf_add_u16be(Buf *b, uint16_t v);
void buf_add_u32be(Buf *b, uint32_t v);
void buf_printf(Buf *b, const char *format, ...) _printf_(2, 3);
/* 0, or -ENOMEM when any append failed. */
int buf_ok(const Buf *b) _must_use_;
/* Ends the text with a NUL and hands it to the caller (free()); the buffer is then empty. NULL when
 * an append failed. */
char *buf_take_str(Buf *b);
/* Drops the first n bytes (n <= len). */
void buf_drop(Buf *b, size_t n);

/* JSON: a quoted string (UTF-8 taken as it is; quote, backslash and control characters escaped).
 * s may be NULL when n is 0. */
void buf_json_str(Buf *b, const char *s, size_t n);
/* `"name":` with a comma before it unless an object or array was just opened. */
void buf_json_name(Buf *b, const char *name);
/* Members of an object. A NULL string is written as null. */
void buf_json_member_str(Buf *b, const char *name, const char *value);
void buf_json_member_int(Buf *b, const char *name, int64_t value);
void buf_json_member_bool(Buf *b, const char *name, bool value);
/* A comma unless an object, an array or a member was just opened: before an element of an array. */
void buf_json_comma(Buf *b);
