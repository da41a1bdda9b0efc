/* Pieces of an HTTP/1.1 head (RFC 9110 section 5, RFC 9112 section 5), shared by both sides of the
 * WebSocket handshake. Pure; they refer into the bytes given. Any thread. */
#pragma once

#include "util.h"

/* Not terminated; p NULL: absent. */
typedef struct HttpText {
        const char *p;
        size_t n;
} HttpText;

/* Whatever the case of its letters. */
bool http_text_is(HttpText t, const char *s);
/* Without spaces and tabs around it. */
HttpText http_text_trim(HttpText t);
/* Whether a comma-separated list holds a token, whatever its case. */
bool http_list_holds(HttpText list, const char *token);
/* A character of a method or a field's name: `tchar`. */
bool http_is_token_char(char c);
/* "Name: value", without its line's end. false: not a header line. */
bool http_field_cut(HttpText line, HttpText *ret_name, HttpText *ret_value);
