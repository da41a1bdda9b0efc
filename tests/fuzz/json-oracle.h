/* Jansson as the oracle of the JSON scanner.
 *
 * Jansson refuses some texts that RFC 8259 allows and the scanner takes: numbers beyond a double or
 * a 64-bit integer, surrogate escapes without their other half, and \u0000 in names. It also passes
 * over a NUL byte behind a number. oracle_plain() writes a copy of the text in which those are
 * replaced by harmless ones of the same form, so that the verdicts on the copy must be the same;
 * nothing else is excused, except the depth of nesting.
 */
#pragma once

#include <errno.h>
#include "tests/fuzz/with-jansson.h"

#include "liblinkproto/json.h"

static inline bool oracle_is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* Whether p begins a \u escape that jansson does not take alone, or that is NUL. */
static inline bool oracle_is_odd_escape(const char *p, size_t n)
{
        static const char hex[] = "0123456789abcdefABCDEF";

        if (n < 6 || p[0] != '\\' || p[1] != 'u')
                return false;
        for (int i = 2; i < 6; i++)
                if (!p[i] || !strchr(hex, p[i]))
                        return false;
        if (memcmp(p + 2, "0000", 4) == 0)
                return true;
        return (p[2] == 'd' || p[2] == 'D') && strchr("89abcdefABCDEF", p[3]);
}

/* The copy; its length in *ret_len. free(). NULL: out of memory. */
static inline char *oracle_plain(const char *text, size_t len, size_t *ret_len)
{
        char *out = malloc(len + 1);
        bool in_string = false;
        size_t n = 0, digits = 0;

        for (size_t i = 0; out && i < len; i++) {
                char c = text[i];

                digits = !in_string && oracle_is_digit(c) ? digits + 1 : 0;
                if (digits > 2)
                        continue;
                out[n++] = c || in_string ? c : 1;
                if (c == '"')
                        in_string = !in_string;
                if (!in_string || c != '\\' || i + 1 >= len)
                        continue;
                if (oracle_is_odd_escape(text + i, len - i)) {
                        memcpy(out + n, "u0041", 5);
                        n += 5;
                        i += 5;
                } else {
                        out[n++] = text[++i];
                }
        }
        if (out)
                *ret_len = n;
        return out;
}

/* Compares scanner and oracle on a text of any kind. NULL: they agree; else what they disagree on.
 */
static inline const char *oracle_compare(const char *text, size_t len)
{
        static const char *const names[] = {"t", "id", "cmd"};
        const char *fault = NULL;
        JsonSlice value, members[3];
        json_error_t error;
        size_t n = 0;
        char *plain = oracle_plain(text, len, &n);
        json_t *tree =
                plain ? json_loadb(plain, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error) : NULL;
        int r = json_scan_value(text, len, &value), o = -1;

        if (!plain)
                return NULL;
        if (r != -E2BIG && (r == 0) != (tree != NULL))
                fault = r == 0 ? "only the scanner takes it" : "only the oracle takes it";
        else if (r != json_scan_value(plain, n, NULL))
                fault = "the plain copy is judged otherwise";
        else
                o = json_scan_object(plain, n, names, members, ELEMENTSOF(names));
        if (!fault && r == 0 && (o == 0) != json_is_object(value))
                fault = "object and value disagree";
        for (size_t i = 0; !fault && r == 0 && o == 0 && i < ELEMENTSOF(names); i++) {
                json_t *expect = json_object_get(tree, names[i]);
                json_t *got = members[i].p ? json_loadb(members[i].p, members[i].n,
                                                        JSON_DECODE_ANY | JSON_ALLOW_NUL, &error)
                                           : NULL;

                if ((expect == NULL) != (got == NULL) || (expect && !json_equal(expect, got)))
                        fault = "a member was cut out wrongly";
                json_decref(got);
        }
        json_decref(tree);
        free(plain);
        return fault;
}
